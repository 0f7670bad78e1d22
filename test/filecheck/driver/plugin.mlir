// Dialects and passes of others, from a file; a composite pass shows its parts.
// RUN: fs-opt %s --load-plugin %S/Inputs/plugin.py | filecheck %s
// RUN: fs-opt %s --load-plugin %S/Inputs/plugin.py --list-passes | filecheck %s --check-prefix LIST
// RUN: fs-opt %s --load-plugin %S/Inputs/plugin.py --help-pass count-ops | filecheck %s --check-prefix HELP
// RUN: fs-opt %s --load-plugin %S/Inputs/plugin.py -p both --print-ir-after-all --timing -o /dev/null 2>&1 | filecheck %s --check-prefix BOTH
// RUN: not fs-opt %s 2>&1 | filecheck %s --check-prefix WITHOUT
// RUN: not fs-opt %s --load-plugin %S/Inputs/nothing.py 2>&1 | filecheck %s --check-prefix NOFILE
// RUN: not fs-opt %s --load-plugin json 2>&1 | filecheck %s --check-prefix NOPLUGIN

// CHECK: plugin.hello
// LIST: count-ops {{ *}}[{{.*}}plugin.py] Count the operations of each function.
// HELP:      count-ops{limit=… strict=…}
// HELP:      Says the number in a remark.
// HELP:        limit   int, default 100
// HELP-NEXT:   strict  bool, default false
// BOTH: IR Dump After count-ops
// BOTH-NEXT: builtin.module
// BOTH: IR Dump After dce
// BOTH-NOT: IR Dump
// BOTH: both
// BOTH-NEXT: {{  }}count-ops
// BOTH-NEXT: {{  }}dce
// WITHOUT: Operation plugin.hello is not registered
// NOFILE: error: cannot load plugin '{{.*}}nothing.py': FileNotFoundError
// NOPLUGIN: error: plugin 'json' holds no xdsl.universe.Universe; define one
func.func @f() {
  "plugin.hello"() : () -> ()
  func.return
}
