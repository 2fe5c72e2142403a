"""Label quality: witnesses, the error model, agreement, checks, and the gate's decision."""
