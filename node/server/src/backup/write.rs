//! Writing a backup, piece by piece, as its reader takes it.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use conclave_store::disk::RealDisk;
use conclave_store::snapshot::SnapshotStore;
use conclave_store::state::{State, StateError};
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use ring::digest::{Context, SHA256, digest};

use super::archive::{BLOCK_BYTES, END_BYTES, META, SEALED, STATE, SUMS, header, padding};
use super::manifest::Circumstances;
use super::{BackupError, BackupKey, Manifest, SpoolDir, verify};

/// Makes the bytes of a backup. Nothing runs between two calls, so a slow reader costs a file on
/// disk and nothing else.
pub struct BackupWriter {
    gzip: Option<GzEncoder<Vec<u8>>>,
    manifest: Manifest,
    mtime_seconds: u64,
    key: BackupKey,
    state: File,
    left: u64,
    digest: Context,
    stage: Stage,
    _dir: SpoolDir,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Meta,
    State,
    Sums,
}

/// What a node knows of a backup beside its state.
pub struct About {
    /// 16 bytes.
    pub cluster_id: [u8; 16],
    /// For people.
    pub cluster_name: String,
    /// The term of the data key that seals.
    pub keyring_term: u32,
    /// Wall clock.
    pub now_ms: u64,
}

impl BackupWriter {
    /// Copies the state as it is now into `dir`, reads the copy back and verifies it. It takes as
    /// long as a snapshot does and must not run where others wait.
    ///
    /// # Errors
    /// The operating system's, the state's.
    pub fn begin(
        state: &State,
        about: About,
        key: BackupKey,
        dir: SpoolDir,
    ) -> Result<Self, BackupError> {
        let disk = Arc::new(RealDisk::open(dir.path())?);
        let store = SnapshotStore::open(disk)?;
        let snapshot = export(state, &store, &about.cluster_id)?;
        let file = File::open(verify::find_state(dir.path())?)?;
        let state_bytes = file.metadata()?.len();
        let circumstances = Circumstances {
            created: rfc3339(about.now_ms),
            cluster_name: about.cluster_name,
            keyring_term: about.keyring_term,
            state_bytes,
            backup_key: key.public(),
        };
        let manifest = Manifest::new(snapshot.header(), circumstances);
        Ok(Self::new(manifest, about.now_ms / 1000, key, file, dir))
    }

    pub(super) fn new(
        manifest: Manifest,
        mtime_seconds: u64,
        key: BackupKey,
        state: File,
        dir: SpoolDir,
    ) -> Self {
        // The state is ciphertext: it does not get smaller.
        let gzip = GzBuilder::new().write(Vec::new(), Compression::none());
        Self {
            gzip: Some(gzip),
            left: manifest.state_bytes,
            manifest,
            mtime_seconds,
            key,
            state,
            digest: Context::new(&SHA256),
            stage: Stage::Meta,
            _dir: dir,
        }
    }

    /// The next piece, None at the end.
    ///
    /// # Errors
    /// The operating system's. What came before is no backup then.
    pub fn next_piece(&mut self) -> io::Result<Option<Bytes>> {
        let Some(mut gzip) = self.gzip.take() else { return Ok(None) };
        match self.stage {
            Stage::Meta => {
                self.put_whole(&mut gzip, META, &self.manifest.encode())?;
                gzip.write_all(&header(STATE, self.left, self.mtime_seconds))?;
                self.stage = Stage::State;
            }
            Stage::State if self.left > 0 => self.put_state(&mut gzip)?,
            Stage::State => {
                gzip.write_all(&vec![0; padding(self.manifest.state_bytes)])?;
                self.stage = Stage::Sums;
            }
            Stage::Sums => return self.finish(gzip).map(Some),
        }
        let piece = Bytes::from(std::mem::take(gzip.get_mut()));
        self.gzip = Some(gzip);
        Ok(Some(piece))
    }

    fn put_whole(
        &self,
        gzip: &mut GzEncoder<Vec<u8>>,
        name: &str,
        content: &[u8],
    ) -> io::Result<()> {
        let bytes = content.len() as u64;
        gzip.write_all(&header(name, bytes, self.mtime_seconds))?;
        gzip.write_all(content)?;
        gzip.write_all(&[0; BLOCK_BYTES][..padding(bytes)])
    }

    fn put_state(&mut self, gzip: &mut GzEncoder<Vec<u8>>) -> io::Result<()> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let mut piece = vec![0; room];
        self.state.read_exact(&mut piece)?;
        self.digest.update(&piece);
        self.left -= piece.len() as u64;
        gzip.write_all(&piece)
    }

    fn finish(&self, mut gzip: GzEncoder<Vec<u8>>) -> io::Result<Bytes> {
        let sums = sums(&self.manifest.encode(), self.digest.clone().finish().as_ref());
        self.put_whole(&mut gzip, SUMS, &sums)?;
        self.put_whole(&mut gzip, SEALED, &self.key.seal(&sums))?;
        gzip.write_all(&[0; END_BYTES])?;
        gzip.finish().map(Bytes::from)
    }
}

/// A view that expires while it is copied, because too much was written meanwhile, begins again.
fn export(
    state: &State,
    store: &SnapshotStore,
    cluster_id: &[u8],
) -> Result<conclave_store::snapshot::SnapshotReader, BackupError> {
    use conclave_store::snapshot::SnapshotError;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let export = state.export().map_err(SnapshotError::from)?;
        match store.save(export, cluster_id) {
            Err(SnapshotError::State(StateError::ViewExpired)) if attempt < ATTEMPTS_MAX => {}
            saved => return Ok(saved?),
        }
    }
}

/// The content of `SHA256SUMS`.
pub(super) fn sums(meta: &[u8], state_digest: &[u8]) -> Vec<u8> {
    let meta = hex::encode(digest(&SHA256, meta));
    format!("{meta}  {META}\n{}  {STATE}\n", hex::encode(state_digest)).into_bytes()
}

fn rfc3339(wall_ms: u64) -> String {
    i64::try_from(wall_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(String::new, |time| time.to_string())
}

pub(super) const PIECE_BYTES: usize = 256 << 10;
const ATTEMPTS_MAX: u32 = 5;
