//! `conclave operator snapshot`: backups of the whole cluster.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use conclave_sdk::Operator;
use serde_json::{Value, json};

use super::{Context, Failure};
use crate::commands::sibling;
use crate::output::{self, Format, Output};

/// Save, check and restore backups of the whole cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Save a signed backup of everything acknowledged until now
    Save(Save),
    /// Replace everything in the cluster by a backup of it
    Restore(Restore),
    /// Check every byte of a backup, without any cluster
    Verify(Verify),
    /// Show what a backup says of itself, unchecked
    Inspect(Inspect),
}

/// Save a backup.
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// Where to; a file that is there is replaced once the new one is whole
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Restore a backup.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Also a backup of another cluster: all nodes are sealed then, and open with the keys of the
    /// cluster that made it
    #[arg(long)]
    force: bool,
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Check a backup.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The key that must have signed it, as `operator members` shows it
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Show what a backup says of itself.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Snapshot {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        match self {
            Self::Save(save) => save.run(context).await,
            Self::Restore(restore) => restore.run(context).await,
            Self::Verify(Verify { key, file }) => {
                Err(sibling::replace_process(verify_words(context.format()?, key.as_deref(), file)))
            }
            Self::Inspect(Inspect { file }) => {
                Err(sibling::replace_process(words("inspect", context.format()?, file)))
            }
        }
    }
}

impl Save {
    /// The file gets its name once it is whole and, where `conclaved` is there to do it, verified
    /// against the cluster's own key.
    async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let operator = context.client().await?.operator();
        let key = operator.membership().await?.backup_key;
        let draft = Draft::create(&self.file).map_err(|error| unwritable(&self.file, &error))?;
        download(&operator, &draft).await?;
        let words = verify_words(Format::Json, Some(&key), &draft.path);
        let checked = check(&words)?;
        let bytes = draft.finish(&self.file).map_err(|error| unwritable(&self.file, &error))?;
        Ok(told(&self.file, bytes, &key, checked.as_ref(), format))
    }
}

/// A file under a temporary name beside its own. It is removed where it is dropped unfinished.
struct Draft {
    path: PathBuf,
    file: File,
    finished: bool,
}

impl Draft {
    fn create(target: &Path) -> io::Result<Self> {
        let name = target.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let mut draft = OsString::from(".");
        draft.push(name);
        draft.push(format!(".{}.part", std::process::id()));
        let path = target.with_file_name(draft);
        let file =
            File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, file, finished: false })
    }

    /// Makes it durable under its name.
    fn finish(mut self, target: &Path) -> io::Result<u64> {
        self.file.sync_all()?;
        fs::rename(&self.path, target)?;
        self.finished = true;
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(self.file.metadata()?.len())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            // It may be gone already; there is nobody to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn download(operator: &Operator, draft: &Draft) -> Result<(), Failure> {
    let mut pieces = operator.save_snapshot().await?;
    while let Some(piece) = pieces.next().await? {
        (&draft.file).write_all(&piece).map_err(|error| unwritable(&draft.path, &error))?;
    }
    Ok(())
}

/// What `conclaved` found; `None` where it is not there to look.
fn check(words: &[OsString]) -> Result<Option<Value>, Failure> {
    let asked = sibling::ask(words).map_err(|error| {
        Failure::local(format!("conclaved cannot be started: {error}; check it"))
    })?;
    let Some(answer) = asked else { return Ok(None) };
    if !answer.status.success() {
        let why = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
        return Err(Failure::Server(format!("what the node sent is no good backup: {why}")));
    }
    let document = serde_json::from_slice(&answer.stdout).map_err(|_| {
        Failure::local("conclaved's answer cannot be read; install both of one version".into())
    })?;
    Ok(Some(document))
}

fn told(file: &Path, bytes: u64, key: &str, checked: Option<&Value>, format: Format) -> Output {
    let text = |name: &str| checked.map(|found| output::plain(&found[name]));
    if !format.is_table() {
        let document = json!({
            "file": file.display().to_string(),
            "bytes": bytes,
            "backup_key": key,
            "verified": checked.is_some(),
            "epoch": checked.map(|found| &found["epoch"]),
            "index": checked.map(|found| &found["index"]),
        });
        return Output::document(format, &document);
    }
    let verified = match checked {
        Some(_) => "every byte",
        None => "no: conclaved is not installed here; run `snapshot verify` where it is",
    };
    let mut rows = vec![
        ("File", file.display().to_string()),
        ("Bytes", bytes.to_string()),
        ("Verified", verified.to_owned()),
        ("Backup Key", key.to_owned()),
    ];
    for (title, name) in [("Epoch", "epoch"), ("Index", "index")] {
        rows.extend(text(name).map(|value| (title, value)));
    }
    Output::good(output::pairs(rows))
}

impl Restore {
    async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let operator = context.client().await?.operator();
        let restored = operator.restore_snapshot(self.force, || File::open(&self.file)).await?;
        let mut text = format!(
            "Success! The backup is the cluster's state since revision {}, epoch {}.\n",
            restored.revision, restored.epoch
        );
        if self.force {
            text += "Nodes whose keys it does not fit are sealed: unseal each with the keys of the \
                     cluster that made it.\n";
        }
        if format.is_table() {
            return Ok(Output::good(text));
        }
        let (revision, epoch) = (restored.revision, restored.epoch);
        let document = json!({ "success": true, "revision": revision, "epoch": epoch });
        Ok(Output::document(format, &document))
    }
}

fn verify_words(format: Format, key: Option<&str>, file: &Path) -> Vec<OsString> {
    let mut all = words("verify", format, file);
    all.splice(2..2, key.map(|key| OsString::from(format!("--key={key}"))));
    all
}

fn words(verb: &str, format: Format, file: &Path) -> Vec<OsString> {
    let mut all: Vec<OsString> =
        ["snapshot", verb, sibling::format_word(format), "--"].map(OsString::from).into();
    all.push(file.into());
    all
}

fn unwritable(file: &Path, error: &io::Error) -> Failure {
    Failure::local(format!("{} cannot be written: {error}; choose another place", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn a_saved_backup_is_told_as_agreed() {
        let found = json!({ "epoch": 2, "index": 41 });
        let key = "ab".repeat(32);
        for (name, checked) in [("snapshot-save", Some(&found)), ("snapshot-unverified", None)] {
            for (format, end) in [(Format::Table, "txt"), (Format::Json, "json")] {
                let told = told(Path::new("b.tar.gz"), 4096, &key, checked, format);
                golden::check(&format!("output/{name}.{end}"), &told.text);
            }
        }
    }

    #[test]
    fn a_half_file_never_gets_the_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("b.tar.gz");
        fs::write(&target, "old").expect("written");
        let draft = Draft::create(&target).expect("created");
        (&draft.file).write_all(b"half").expect("written");
        assert_ne!(draft.path, target);
        drop(draft);
        let names = || fs::read_dir(folder.path()).expect("listed").count();
        assert_eq!((names(), fs::read(&target).expect("there")), (1, b"old".to_vec()));
        let draft = Draft::create(&target).expect("created");
        (&draft.file).write_all(b"whole").expect("written");
        assert_eq!(draft.finish(&target).expect("finished"), 5);
        assert_eq!((names(), fs::read(&target).expect("there")), (1, b"whole".to_vec()));
        assert!(Draft::create(Path::new("/")).is_err());
    }

    #[test]
    fn the_sibling_is_asked_with_words_that_no_file_name_can_be() {
        let asked = verify_words(Format::Json, Some("ab"), Path::new("--key=x"));
        assert_eq!(asked, ["snapshot", "verify", "--key=ab", "--format=json", "--", "--key=x"]);
        let asked = words("inspect", Format::Table, Path::new("f"));
        assert_eq!(asked, ["snapshot", "inspect", "--format=table", "--", "f"]);
    }
}
