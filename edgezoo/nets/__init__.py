"""Network architectures in PyTorch, one file a family, in the key layout of the official weights.

A family's file holds

    build(*, classes, ...) -> nn.Module     the untrained network; float32 NCHW in, raw output out.
                                            The other arguments are a card's `network.options`
    classes_of(state_dict) -> int           how many classes a checkpoint was trained for, read off
                                            its shapes; KeyError where it is not of this family
    SIZE_MULTIPLE                           what the input's height and width must be multiples of

The docstring names the paper, the original code and the licence of its weights.
"""
