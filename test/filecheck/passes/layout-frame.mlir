// RUN: fs-opt %s -p layout-frame --split-input-file --verify-diagnostics | filecheck %s

// Objects lie below what the function uses itself; two that are never in use together share their place. Accesses go
// through the frame pointer.
// CHECK-LABEL: ebpf.func @places
// CHECK:         %[[FP:.*]] = ebpf.frame
// CHECK:         %[[A:.*]] = ebpf.addi %[[FP]], -16
// CHECK:         ebpf.st32 %[[FP]][-16], 1
// CHECK:         ebpf.call 1(%{{.*}}, %[[A]])
// CHECK:         %[[B:.*]] = ebpf.addi %[[FP]], -16
// CHECK:         ebpf.st32 %[[FP]][-16], 2
// CHECK:         ebpf.call 1(%{{.*}}, %[[B]])
ebpf.func @places section "xdp" {
^bb0(%m : !ebpf.reg):
  %fp = ebpf.frame -> !ebpf.fp
  %own = ebpf.addi %fp, -8 : !ebpf.fp -> !ebpf.fp
  ebpf.st64 %own[0], 0 : !ebpf.fp
  %a = ebpf.alloca 4 -> !ebpf.fp
  ebpf.st32 %a[0], 1 : !ebpf.fp
  %x = ebpf.call 1(%m, %a) : reg, !ebpf.fp -> reg
  %b = ebpf.alloca 4 -> !ebpf.fp
  ebpf.st32 %b[0], 2 : !ebpf.fp
  %y = ebpf.call 1(%m, %b) : reg, !ebpf.fp -> reg
  ebpf.exit(%y) : reg
}

// -----

// Both in use at the call: two places.
// CHECK-LABEL: ebpf.func @together
// CHECK:         ebpf.st64 %{{.*}}[-8], 1
// CHECK-NEXT:    ebpf.st64 %{{.*}}[-24], 2
ebpf.func @together section "xdp" {
^bb0(%m : !ebpf.reg, %flags : !ebpf.reg):
  %key = ebpf.alloca 8 -> !ebpf.fp
  %value = ebpf.alloca 12 -> !ebpf.fp
  ebpf.st64 %value[8], 1 : !ebpf.fp
  ebpf.st64 %key[0], 2 : !ebpf.fp
  %r = ebpf.call 2(%m, %key, %value, %flags) : reg, !ebpf.fp, !ebpf.fp, reg -> reg
  ebpf.exit(%r) : reg
}

// -----

ebpf.func @full section "xdp" {
^bb0(%m : !ebpf.reg):
  %fp = ebpf.frame -> !ebpf.fp
  ebpf.st64 %fp[-504], 0 : !ebpf.fp
  // expected-error@below {{needs 520 bytes of stack, 512 are left for it}}
  %a = ebpf.alloca 16 -> !ebpf.fp
  %x = ebpf.call 1(%m, %a) : reg, !ebpf.fp -> reg
  ebpf.exit(%x) : reg
}
