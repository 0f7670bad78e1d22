# The user-space part, over libxdp and libbpf (Debian: libxdp-dev libbpf-dev).
CFLAGS ?= -O2 -g
CFLAGS += -Wall -Wextra
# Sources, objects or flags that define the functions of user space which the program calls.
LIBRARIES ?=

af_xdp: af_xdp.c
	$(CC) $(CFLAGS) -o $@ $< $(LIBRARIES) -pthread -lxdp -lbpf

clean:
	rm -f af_xdp

.PHONY: clean
