"""How good, how fast, where the time goes: every figure with what really ran."""
