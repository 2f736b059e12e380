"""Evaluation of ensembles with a file of questions: questions, grades, statistics, reports."""
