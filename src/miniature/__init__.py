"""How the shipped miniature is made: training, evaluation and its page. Not part of the wheel."""
