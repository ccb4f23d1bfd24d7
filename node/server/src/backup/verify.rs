//! Reading a backup: nothing is believed before all of it was seen.

use std::fs::{self, File};
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conclave_store::disk::RealDisk;
use conclave_store::snapshot::{SnapshotReader, SnapshotStore};
use flate2::bufread::GzDecoder;
use ring::digest::{Context, SHA256};

use super::archive::{META, Members, SEALED, STATE, SUMS};
use super::write::{PIECE_BYTES, sums};
use super::{BackupError, Manifest, PublicKey, SpoolDir, changed, layout, manifest, sign};

/// A backup of which every byte was checked.
pub struct Verified {
    /// What it is of.
    pub manifest: Manifest,
    /// Who signed it. **Whether that is the right one is the caller's to check.**
    pub signed_by: PublicKey,
    /// Its state, chunk by chunk.
    pub state: SnapshotReader,
    _dir: SpoolDir,
}

/// Verifies the backup in `archive`: its layout, its sums and signature, then the state inside
/// against its own digests and set hash. The state is unpacked into `dir`. It takes as long as
/// reading all of it does, and must not run where others wait.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(archive: File, dir: SpoolDir) -> Result<Verified, BackupError> {
    let archive_bytes = archive.metadata()?.len();
    let reader = BufReader::with_capacity(PIECE_BYTES, archive);
    let mut members = Members::new(GzDecoder::new(reader));
    let meta = members.read_whole(META, manifest::BYTES_MAX)?;
    let manifest = Manifest::decode(&meta)?;
    let state_path = state_path(dir.path(), manifest.index);
    let state_digest = unpack_state(&mut members, &manifest, archive_bytes, &state_path)?;
    let found_sums = members.read_whole(SUMS, SUMS_BYTES_MAX)?;
    let sealed = members.read_whole(SEALED, sign::BYTES_MAX)?;
    check_end(members)?;
    if found_sums != sums(&meta, state_digest.as_ref()) {
        return Err(changed("its content does not match SHA256SUMS"));
    }
    let signed_by = sign::signer(&sealed, &found_sums)?;
    if manifest.backup_key != signed_by.to_string() {
        return Err(changed("meta.json names another key than the one that signed"));
    }
    let state = open_state(dir.path(), &manifest)?;
    Ok(Verified { manifest, signed_by, state, _dir: dir })
}

impl Verified {
    /// Whether this key signed it; without one, whoever did is fine.
    ///
    /// # Errors
    /// [`BackupError::OtherKey`].
    pub fn check_signer(&self, wanted: Option<PublicKey>) -> Result<(), BackupError> {
        match wanted {
            Some(wanted) if wanted != self.signed_by => {
                Err(BackupError::OtherKey { found: self.signed_by, wanted })
            }
            _ => Ok(()),
        }
    }
}

/// What a file says of itself. **Nothing of it is verified.**
///
/// # Errors
/// It does not begin as a backup does.
pub fn inspect(archive: File) -> Result<Manifest, BackupError> {
    let reader = BufReader::new(archive);
    let mut members = Members::new(GzDecoder::new(reader));
    Manifest::decode(&members.read_whole(META, manifest::BYTES_MAX)?)
}

/// Writes the state file out and gives its digest.
fn unpack_state(
    members: &mut Members<impl io::Read>,
    manifest: &Manifest,
    archive_bytes: u64,
    path: &Path,
) -> Result<ring::digest::Digest, BackupError> {
    let bytes_max = archive_bytes.saturating_mul(EXPANSION_MAX).saturating_add(SLACK_BYTES);
    let bytes = members.begin(STATE, bytes_max)?;
    if bytes != manifest.state_bytes {
        return Err(changed("meta.json speaks of a state of another length"));
    }
    fs::create_dir_all(path.parent().expect("the state lies in a directory"))?;
    let mut file = File::create_new(path)?;
    let mut digest = Context::new(&SHA256);
    let (mut left, mut buffer) = (bytes, vec![0; PIECE_BYTES]);
    while left > 0 {
        let read = members.read_some(left, &mut buffer)?;
        digest.update(&buffer[..read]);
        file.write_all(&buffer[..read])?;
        left -= read as u64;
    }
    members.finish(bytes)?;
    Ok(digest.finish())
}

/// Neither the archive nor the compression around it may have a rest.
fn check_end(members: Members<GzDecoder<BufReader<File>>>) -> Result<(), BackupError> {
    let mut rest = members.end()?.into_inner();
    if io::Read::read(&mut rest, &mut [0])? == 0 {
        return Ok(());
    }
    Err(layout("something follows its end"))
}

/// The store verifies what it has not seen before, set hash included.
fn open_state(dir: &Path, manifest: &Manifest) -> Result<SnapshotReader, BackupError> {
    let store = SnapshotStore::open(Arc::new(RealDisk::open(dir)?))?;
    let Some(state) = store.latest()? else { return Err(layout("it has no state")) };
    manifest.check(state.header())?;
    Ok(state)
}

fn state_path(dir: &Path, index: u64) -> PathBuf {
    dir.join("snapshots").join(format!("{index:020}-{:020}.snapshot", 0))
}

/// The one snapshot below a directory.
pub(super) fn find_state(dir: &Path) -> io::Result<PathBuf> {
    for entry in fs::read_dir(dir.join("snapshots"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "snapshot") {
            return Ok(path);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "the snapshot just written is gone"))
}

/// What compression may have saved. Ours saves nothing, since ciphertext cannot be compressed; a
/// file that grows more than this is made to fill the disk.
const EXPANSION_MAX: u64 = 4;
const SLACK_BYTES: u64 = 1 << 20;
const SUMS_BYTES_MAX: u64 = 512;
