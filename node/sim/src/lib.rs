//! A whole cluster in one thread under one seed.
