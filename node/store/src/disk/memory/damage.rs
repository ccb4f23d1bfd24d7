//! What goes wrong with bytes that were durable: a disk that errs, an operator who restores the
//! wrong thing. Done to the files behind everybody's back, open ones included.

use std::io;

use super::MemoryDisk;
use super::directory::Random;

const PAGE_BYTES: usize = 4_096;

/// A kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// One bit has another value.
    Flip,
    /// A page of 4 KiB, or what of one there is, holds zeros.
    ZeroPage,
    /// A file ends earlier.
    Truncate,
    /// Two files have each other's bytes.
    Swap,
    /// A file is gone.
    Delete,
    /// A file is what it was earlier.
    OlderCopy,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What kind.
    pub kind: DamageKind,
    /// The file, or the first of two.
    pub path: String,
    /// A sentence about it.
    pub what: String,
}

impl DamageKind {
    /// Every kind.
    pub const ALL: &[Self] =
        &[Self::Flip, Self::ZeroPage, Self::Truncate, Self::Swap, Self::Delete, Self::OlderCopy];
}

impl MemoryDisk {
    /// Damages a file whose path begins with `prefix`, as the numbers of `random` say. `older` is
    /// what [`MemoryDisk::contents`] said earlier, for [`DamageKind::OlderCopy`]. None where no
    /// file can be damaged so, or where nothing would differ.
    pub fn damage(
        &self,
        kind: DamageKind,
        prefix: &str,
        older: &[(String, Vec<u8>)],
        mut random: impl FnMut() -> u64,
    ) -> Option<Damage> {
        let now: Vec<_> =
            self.contents().into_iter().filter(|(path, _)| path.starts_with(prefix)).collect();
        let picked = pick(&now, &mut random)?;
        let (path, bytes) = picked;
        let what = match kind {
            DamageKind::Flip => self.flip(path, bytes, &mut random)?,
            DamageKind::ZeroPage => self.zero_page(path, bytes, &mut random)?,
            DamageKind::Truncate => {
                let length = draw(&mut random, bytes.len())?;
                self.replace(path, &bytes[..length]).ok()?;
                format!("{path} ends after {length} of {} bytes", bytes.len())
            }
            DamageKind::Swap => {
                let (other, others) = pick(&now, &mut random).filter(|(_, it)| it != bytes)?;
                self.replace(path, others).ok()?;
                self.replace(other, bytes).ok()?;
                format!("{path} and {other} have each other's bytes")
            }
            DamageKind::Delete => {
                self.delete(path).ok()?;
                format!("{path} is gone")
            }
            DamageKind::OlderCopy => {
                let (_, copy) = older.iter().find(|(name, it)| name == path && it != bytes)?;
                self.replace(path, copy).ok()?;
                format!("{path} is what it was earlier")
            }
        };
        Some(Damage { kind, path: path.clone(), what })
    }

    /// Makes the durable bytes of a file these; it is made where it is absent.
    ///
    /// # Errors
    /// Where its directory does not exist.
    pub fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut tree = self.tree();
        tree.replace(path, bytes)?;
        self.recount(&tree);
        Ok(())
    }

    /// Removes a file for good.
    ///
    /// # Errors
    /// Where it does not exist.
    pub fn delete(&self, path: &str) -> io::Result<()> {
        let mut tree = self.tree();
        tree.delete(path)?;
        self.recount(&tree);
        Ok(())
    }

    /// Puts everything back to what [`MemoryDisk::contents`] said earlier, as an operator does who
    /// restores a copy of the data directory.
    ///
    /// # Errors
    /// Where a directory of `older` does not exist any more.
    pub fn roll_back(&self, older: &[(String, Vec<u8>)]) -> io::Result<()> {
        for (path, _) in self.contents() {
            self.delete(&path)?;
        }
        older.iter().try_for_each(|(path, bytes)| self.replace(path, bytes))
    }

    fn flip(&self, path: &str, bytes: &[u8], random: &mut Random<'_>) -> Option<String> {
        let (at, bit) = (draw(random, bytes.len())?, random() % 8);
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1 << bit;
        self.replace(path, &bytes).ok()?;
        Some(format!("bit {bit} of byte {at} of {path} is flipped"))
    }

    fn zero_page(&self, path: &str, bytes: &[u8], random: &mut Random<'_>) -> Option<String> {
        let page = draw(random, bytes.len().div_ceil(PAGE_BYTES))?;
        let mut zeroed = bytes.to_vec();
        let end = bytes.len().min((page + 1) * PAGE_BYTES);
        zeroed[page * PAGE_BYTES..end].fill(0);
        if zeroed == bytes {
            return None;
        }
        self.replace(path, &zeroed).ok()?;
        Some(format!("page {page} of {path} holds zeros"))
    }
}

fn pick<'a>(
    files: &'a [(String, Vec<u8>)],
    random: &mut Random<'_>,
) -> Option<&'a (String, Vec<u8>)> {
    files.get(draw(random, files.len())?)
}

/// A number below `end`, None where there is none.
fn draw(random: &mut Random<'_>, end: usize) -> Option<usize> {
    let end = u64::try_from(end).ok().filter(|end| *end > 0)?;
    usize::try_from(random() % end).ok()
}
