"""How many words a prompt may have."""

EXACT_WORDS = 16  # all 2^n coalitions are scored and split exactly up to here [ours]
SAMPLED_WORDS = 64  # beyond, coalitions are sampled; a coalition is a bitmask of 64 bits
