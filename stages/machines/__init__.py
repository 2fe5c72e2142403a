"""What machine annotators said, frozen: never a person's answer, never believed without proof."""
