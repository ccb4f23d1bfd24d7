//! What is done to the files of a node that does not run.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Copies a folder with everything below it; what is zero stays a hole, for logs are preallocated.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    std::fs::set_permissions(to, std::fs::metadata(from)?.permissions())?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            copy_file(&path, &target)?;
        }
    }
    Ok(())
}

/// Copies a file; what is zero stays a hole.
pub(crate) fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    let (mut source, target) = (File::open(from)?, File::create(to)?);
    target.set_permissions(source.metadata()?.permissions())?;
    target.set_len(source.metadata()?.len())?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut offset = 0;
    loop {
        let n = source.read(&mut piece)?;
        if n == 0 {
            return Ok(());
        }
        if piece[..n].iter().any(|byte| *byte != 0) {
            target.write_all_at(&piece[..n], offset)?;
        }
        offset += n as u64;
    }
}

/// Puts a copy in the place of a folder.
pub(crate) fn replace_folder(folder: &Path, copy: &Path) -> std::io::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    copy_folder(copy, folder)
}

/// Every file below a folder.
pub(crate) fn below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(below(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Bytes that the files below a folder take on the disk.
pub(crate) fn bytes_below(folder: &Path) -> std::io::Result<u64> {
    let found = below(folder)?.into_iter();
    // A file may go while we look.
    let found = found.filter_map(|path| std::fs::metadata(path).ok());
    Ok(found.map(|metadata| metadata.blocks() * BLOCK_BYTES).sum())
}

/// How far a file holds something but zeros.
pub(crate) fn used_bytes(path: &Path) -> std::io::Result<u64> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut end = file.metadata()?.len();
    while end > 0 {
        let begin = end.saturating_sub(PIECE_BYTES as u64);
        let length = usize::try_from(end - begin).unwrap_or(PIECE_BYTES);
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut piece[..length])?;
        if let Some(last) = piece[..length].iter().rposition(|byte| *byte != 0) {
            return Ok(begin + last as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// Turns one bit over.
pub(crate) fn flip_bit(path: &Path, offset: u64, bit: u32) -> std::io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    file.write_all_at(&[byte[0] ^ (1 << (bit % 8))], offset)
}

/// Overwrites a page with zeros, up to the end of the file at most.
pub(crate) fn zero_page(path: &Path, offset: u64) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    let page = offset / PAGE_BYTES * PAGE_BYTES;
    file.seek(SeekFrom::Start(page))?;
    let count = PAGE_BYTES.min(length - page);
    file.write_all(&vec![0; usize::try_from(count).unwrap_or_default()])
}

/// Cuts a file.
pub(crate) fn truncate(path: &Path, length: u64) -> std::io::Result<()> {
    OpenOptions::new().write(true).open(path)?.set_len(length)
}

/// Gives each of two files the content of the other.
pub(crate) fn swap(one: &Path, other: &Path) -> std::io::Result<()> {
    let aside = one.with_extension("swapped");
    std::fs::rename(one, &aside)?;
    std::fs::rename(other, one)?;
    std::fs::rename(aside, other)
}

const PIECE_BYTES: usize = 1 << 20;
const PAGE_BYTES: u64 = 4096;
/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;
