# The user-space part, over libxdp and libbpf (Debian: libxdp-dev libbpf-dev).
CFLAGS ?= -O2 -g
CFLAGS += -Wall -Wextra

af_xdp: af_xdp.c
	$(CC) $(CFLAGS) -o $@ $< -lxdp -lbpf

clean:
	rm -f af_xdp

.PHONY: clean
