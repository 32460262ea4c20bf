"""Networks and what wraps them: generator, face models, classifiers."""
