"""What is public of `cuda._runtime`, at the place where cuda-python has it from 12.6 on."""

from cuda._runtime import *  # noqa: F403
