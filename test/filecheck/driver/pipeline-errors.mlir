// A pipeline that is none: what is wrong, at which column, and what to do.
// RUN: not fs-opt %s -p canonicalise 2>&1 | filecheck %s --check-prefix TYPO
// RUN: not fs-opt %s -p 'dce cse' 2>&1 | filecheck %s --check-prefix COMMA
// RUN: not fs-opt %s -p 'builtin.module(dce' 2>&1 | filecheck %s --check-prefix PAREN
// RUN: not fs-opt %s -p 'dce{a=b' 2>&1 | filecheck %s --check-prefix BRACE
// RUN: not fs-opt %s -p 'dce(cse)' 2>&1 | filecheck %s --check-prefix ANCHOR
// RUN: not fs-opt %s -p 'dce{a=b*c}' 2>&1 | filecheck %s --check-prefix QUOTE
// RUN: not fs-opt %s -p 'dce{speed=9}' 2>&1 | filecheck %s --check-prefix OPTION
// RUN: not fs-opt %s -t elv 2>&1 | filecheck %s --check-prefix TARGET

// TYPO:   pipeline-errors.mlir: error: unknown pass 'canonicalise', did you mean 'canonicalize'
// COMMA:  error: pass pipeline, column 5: expected ',' between passes here: 'dce cse'
// PAREN:  error: pass pipeline, column 19: expected ',' or ')' here
// BRACE:  error: pass pipeline, column 4: the options that begin here have no end
// ANCHOR: error: pass pipeline, column 1: 'dce' is no operation that passes could be nested in
// QUOTE:  quote unusual values: key="..."
// OPTION: error: pass 'dce' has no option 'speed'; it has: none
// TARGET: error: unknown target 'elv', did you mean 'elf'?; there are: mlir, elf, c, p4, report, svg, bundle
