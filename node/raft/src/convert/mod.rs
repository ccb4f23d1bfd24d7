//! Between openraft's types and the messages of `conclave.v1`, which are all that is stored or
//! sent. [`encode`] cannot fail; [`decode`] meets bytes of disks and peers and never panics.

pub(crate) mod decode;
pub(crate) mod encode;

#[cfg(test)]
mod tests;
