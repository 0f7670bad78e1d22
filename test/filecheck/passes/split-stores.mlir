// RUN: fs-opt %s -p split-stores | filecheck %s

// What is only stored is stored before the jumps that pass it, constants as immediates.
// CHECK-LABEL: ebpf.func @key
// CHECK:         %key = ebpf.alloca 8 -> !ebpf.fp
// CHECK-NEXT:    ebpf.jeqi %x, 0, ^two, ^one : i64
// CHECK-NEXT:  ^one:
// CHECK-NEXT:    ebpf.stx32 %key[4], %x : !ebpf.fp, i64
// CHECK-NEXT:    ebpf.ja ^join
// CHECK-NEXT:  ^two:
// CHECK-NEXT:    %seven = ebpf.movi 7 -> i64
// CHECK-NEXT:    ebpf.st32 %key[4], 7 : !ebpf.fp
// CHECK-NEXT:    ebpf.ja ^join
// CHECK-NEXT:  ^join
// CHECK-NEXT:    ebpf.st32 %key[0], 0 : !ebpf.fp
// CHECK-NEXT:    %r = ebpf.call 7(%key) : !ebpf.fp -> i64
ebpf.func @key section "xdp" attributes {prog_type = "xdp"} {
^bb0(%x : i64):
  ebpf.jeqi %x, 0, ^two, ^one : i64
^one:
  ebpf.ja ^join(%x : i64)
^two:
  %seven = ebpf.movi 7 -> i64
  ebpf.ja ^join(%seven : i64)
^join(%piece : i64):
  %key = ebpf.alloca 8 -> !ebpf.fp
  ebpf.st32 %key[0], 0 : !ebpf.fp
  ebpf.stx32 %key[4], %piece : !ebpf.fp, i64
  %r = ebpf.call 7(%key) : !ebpf.fp -> i64
  ebpf.exit (%r) : i64
}

// Not what is used otherwise, what only values are passed for, or what something may read before it is stored.
// CHECK-LABEL: ebpf.func @used_again
// CHECK:         ebpf.stx32 %key[0], %piece : !ebpf.fp, i64
ebpf.func @used_again section "xdp" attributes {prog_type = "xdp"} {
^bb0(%x : i64):
  ebpf.jeqi %x, 0, ^two, ^one : i64
^one:
  ebpf.ja ^join(%x : i64)
^two:
  %seven = ebpf.movi 7 -> i64
  ebpf.ja ^join(%seven : i64)
^join(%piece : i64):
  %key = ebpf.alloca 4 -> !ebpf.fp
  ebpf.stx32 %key[0], %piece : !ebpf.fp, i64
  %r = ebpf.call 7(%key) : !ebpf.fp -> i64
  ebpf.exit (%piece) : i64
}

// CHECK-LABEL: ebpf.func @values
// CHECK:         ebpf.stx32 %key[0], %piece : !ebpf.fp, i64
ebpf.func @values section "xdp" attributes {prog_type = "xdp"} {
^bb0(%x : i64, %y : i64):
  ebpf.jeqi %x, 0, ^two, ^one : i64
^one:
  ebpf.ja ^join(%x : i64)
^two:
  ebpf.ja ^join(%y : i64)
^join(%piece : i64):
  %key = ebpf.alloca 4 -> !ebpf.fp
  ebpf.stx32 %key[0], %piece : !ebpf.fp, i64
  %r = ebpf.call 7(%key) : !ebpf.fp -> i64
  ebpf.exit (%r) : i64
}

// CHECK-LABEL: ebpf.func @read_before
// CHECK:         ebpf.stx32 %key[0], %piece : !ebpf.fp, i64
ebpf.func @read_before section "xdp" attributes {prog_type = "xdp"} {
^bb0(%x : i64):
  %key = ebpf.alloca 4 -> !ebpf.fp
  ebpf.st32 %key[0], 1 : !ebpf.fp
  ebpf.jeqi %x, 0, ^two, ^one : i64
^one:
  ebpf.ja ^join(%x : i64)
^two:
  %seven = ebpf.movi 7 -> i64
  ebpf.ja ^join(%seven : i64)
^join(%piece : i64):
  %q = ebpf.call 7(%key) : !ebpf.fp -> i64
  ebpf.stx32 %key[0], %piece : !ebpf.fp, i64
  %r = ebpf.call 7(%key) : !ebpf.fp -> i64
  ebpf.exit (%r) : i64
}
