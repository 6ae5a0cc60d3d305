"""Training of the networks: what the stages trunk, train and finetune share."""
