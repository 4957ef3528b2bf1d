"""The audit: which word rules of the data a fine-tuned model learnt, in which form, from which rows."""
