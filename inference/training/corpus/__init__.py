"""What the small model is trained on: plans of dialogues and the speech in them."""
