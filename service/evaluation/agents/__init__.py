"""The part of each agent of an ensemble in its results, from stored runs; which one to drop."""
