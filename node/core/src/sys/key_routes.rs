//! The routes of the keys: root token by shares, new shares, another data key.
//!
//! Attempts are the leader's to keep, so even a look at one goes there. Who begins or cancels one
//! needs a token, unless the cluster is open as Vault once was; who gives a share needs none, because
//! the nonce says that they were asked to, and the share decides.

use conclave_mount::Operation::{Delete, Read, Write};

use super::{generate_root, key_shares, rekey, rotate, route};
use crate::routes::CoreRoute;
use crate::routes::Handler::{Anybody, Now, Waits};
use crate::routes::Kind::{ActsOnCluster, Reads, WritesRows};
use crate::routes::Tokenless::{Always, ToldLess, WhereOpen};

pub(crate) const KEY_ROUTES: &[CoreRoute] = &[
    root_look("sys/generate-root/attempt"),
    root_start("sys/generate-root/attempt"),
    root_cancel("sys/generate-root/attempt"),
    root_give("sys/generate-root/update"),
    root_look("sys/generate-root-token/attempt"),
    root_start("sys/generate-root-token/attempt"),
    root_cancel("sys/generate-root-token/attempt"),
    root_give("sys/generate-root-token/update"),
    rekey_look("sys/rekey/init"),
    rekey_start("sys/rekey/init"),
    rekey_cancel("sys/rekey/init"),
    rekey_give("sys/rekey/update"),
    verification_look("sys/rekey/verify"),
    verification_give("sys/rekey/verify"),
    verification_restart("sys/rekey/verify"),
    rekey_look("sys/rekey-recovery-key/init"),
    rekey_start("sys/rekey-recovery-key/init"),
    rekey_cancel("sys/rekey-recovery-key/init"),
    rekey_give("sys/rekey-recovery-key/update"),
    verification_look("sys/rekey-recovery-key/verify"),
    verification_give("sys/rekey-recovery-key/verify"),
    verification_restart("sys/rekey-recovery-key/verify"),
    rekey_look("sys/rotate/root/init"),
    rekey_start("sys/rotate/root/init"),
    rekey_cancel("sys/rotate/root/init"),
    rekey_give("sys/rotate/root/update"),
    verification_look("sys/rotate/root/verify"),
    verification_give("sys/rotate/root/verify"),
    verification_restart("sys/rotate/root/verify"),
    rekey_look("sys/rotate/recovery/init"),
    rekey_start("sys/rotate/recovery/init"),
    rekey_cancel("sys/rotate/recovery/init"),
    rekey_give("sys/rotate/recovery/update"),
    verification_look("sys/rotate/recovery/verify"),
    verification_give("sys/rotate/recovery/verify"),
    verification_restart("sys/rotate/recovery/verify"),
    backup_read("sys/rekey/backup"),
    backup_delete("sys/rekey/backup"),
    backup_read("sys/rekey/recovery-key-backup"),
    backup_delete("sys/rekey/recovery-key-backup"),
    backup_read("sys/rotate/root/backup"),
    backup_delete("sys/rotate/root/backup"),
    backup_read("sys/rotate/recovery/backup"),
    backup_delete("sys/rotate/recovery/backup"),
    rotation("sys/rotate"),
    rotation("sys/rotate/keyring"),
    rotation_config("sys/rotate/config"),
    rotation_configure("sys/rotate/config"),
    rotation_config("sys/rotate/keyring/config"),
    rotation_configure("sys/rotate/keyring/config"),
    route("sys/key-status", Read, Reads, Now(rotate::status), "The data key that seals."),
];

const fn root_look(pattern: &'static str) -> CoreRoute {
    let help = "How far the holders of shares are with a root token.";
    route(pattern, Read, ActsOnCluster, Anybody(generate_root::look), help).tokenless(ToldLess)
}

const fn root_start(pattern: &'static str) -> CoreRoute {
    let help = "Begins to collect shares for a root token.";
    route(pattern, Write, ActsOnCluster, Anybody(generate_root::start), help)
        .takes(&[generate_root::START_ROOT])
        .tokenless(WhereOpen)
}

const fn root_cancel(pattern: &'static str) -> CoreRoute {
    let help = "Ends the attempt at a root token.";
    route(pattern, Delete, ActsOnCluster, Anybody(generate_root::cancel), help)
        .takes(&[key_shares::CANCEL])
        .tokenless(WhereOpen)
}

const fn root_give(pattern: &'static str) -> CoreRoute {
    let help = "Takes a share for a root token.";
    route(pattern, Write, ActsOnCluster, Anybody(generate_root::give), help)
        .takes(&[key_shares::GIVE])
        .tokenless(Always)
}

const fn rekey_look(pattern: &'static str) -> CoreRoute {
    let help = "How far the holders of shares are with new ones.";
    route(pattern, Read, ActsOnCluster, Anybody(rekey::look), help).tokenless(ToldLess)
}

const fn rekey_start(pattern: &'static str) -> CoreRoute {
    let help = "Begins to collect shares for new ones.";
    route(pattern, Write, ActsOnCluster, Anybody(rekey::start), help)
        .tokenless(WhereOpen)
        .takes(&[rekey::START_REKEY])
}

const fn rekey_cancel(pattern: &'static str) -> CoreRoute {
    let help = "Ends the attempt at new shares.";
    route(pattern, Delete, ActsOnCluster, Anybody(rekey::cancel), help)
        .tokenless(WhereOpen)
        .takes(&[key_shares::CANCEL])
}

const fn rekey_give(pattern: &'static str) -> CoreRoute {
    let help = "Takes a share for new ones.";
    route(pattern, Write, ActsOnCluster, Anybody(rekey::give), help)
        .tokenless(Always)
        .takes(&[key_shares::GIVE])
}

const fn verification_look(pattern: &'static str) -> CoreRoute {
    let (help, handler) = ("How many of the new shares came back.", rekey::look_at_verification);
    route(pattern, Read, ActsOnCluster, Anybody(handler), help).tokenless(ToldLess)
}

const fn verification_give(pattern: &'static str) -> CoreRoute {
    let help = "Takes one of the new shares back, before they take force.";
    route(pattern, Write, ActsOnCluster, Anybody(rekey::verify), help)
        .tokenless(Always)
        .takes(&[key_shares::GIVE])
}

const fn verification_restart(pattern: &'static str) -> CoreRoute {
    let (help, handler) = ("Begins the verification over.", rekey::restart_verification);
    route(pattern, Delete, ActsOnCluster, Anybody(handler), help).tokenless(WhereOpen)
}

const fn backup_read(pattern: &'static str) -> CoreRoute {
    route(pattern, Read, Reads, Now(rekey::read_backup), "Shares are never kept: there are none.")
}

const fn backup_delete(pattern: &'static str) -> CoreRoute {
    route(pattern, Delete, Reads, Now(rekey::delete_backup), "There is nothing to delete.")
}

const fn rotation(pattern: &'static str) -> CoreRoute {
    let help = "Another data key seals from now on.";
    route(pattern, Write, ActsOnCluster, Waits(rotate::rotate), help).sudo()
}

const fn rotation_config(pattern: &'static str) -> CoreRoute {
    let help = "When the data key is replaced by itself.";
    route(pattern, Read, Reads, Now(rotate::read_config), help).sudo()
}

const fn rotation_configure(pattern: &'static str) -> CoreRoute {
    let help = "Changes when the data key is replaced by itself.";
    route(pattern, Write, WritesRows, Now(rotate::write_config), help)
        .sudo()
        .takes(&[rotate::ROTATION])
}
