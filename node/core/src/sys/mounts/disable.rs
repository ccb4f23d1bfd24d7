//! Disabling a mount. Its rows can be reached no more from that moment on, since no mount ever has
//! its id again, and are swept.

use super::{check_path, path};
use crate::routes::Ask;
use crate::{Error, Response, quotas, sweep};

pub(in crate::sys) fn disable(ask: &mut Ask<'_>) -> Result<Response, Error> {
    let path = path(ask);
    check_path(&path)?;
    let table = ask.core.mounts.at(ask.tx)?;
    // One that is not there is what the caller asked for.
    if let Some(mount) = table.get(&path) {
        sweep::note(ask.tx, mount.id())?;
        table.rewrite(ask.tx, |mounts| mounts.retain(|mount| mount.path != path))?;
        quotas::follow_mount(ask.tx, &path, None)?;
    }
    Ok(Response::empty())
}
