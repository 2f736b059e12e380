"""Markdown of models as HTML that is safe to show, also while the text grows."""
