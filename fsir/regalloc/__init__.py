"""Register allocation for whole functions: virtual `ebpf` code in, allocated code out.

    build        the function as numbered nodes and steps, with every constraint of the machine as an explicit copy
    constants    constants moved to where they are used, and never kept where making them again costs no more
    interference which nodes cannot share a register, and which registers each cannot have
    coalesce     copies whose two sides can share a register become one
    colour       a register for each class, its original one where that is free
    spill        what found no register lives on the stack, or is made again at each use
    emit         the result as operations, copies in sequence

The steps repeat from `interference` until every class has a register. Nothing of the function is modified before
`emit` has made a new body, so a failure leaves it as it was.
"""
