"""Everything becomes a Graph: the vocabulary, readers, generators of labelled data, the store and the sampler."""
