//! Files: sftp and scp, decided path by path.

use std::fs;

use crate::support::{
    Agent, run,
    ssh::{SshWorld, pipe},
};

/// Runs commands of sftp's.
fn sftp(world: &SshWorld, commands: &str) -> std::process::Output {
    // A batch from standard input stops at the first mistake.
    pipe(
        world
            .client("sftp", Agent::Reader)
            .args(["-q", "-b", "-", "box"]),
        commands.as_bytes().to_vec(),
    )
}

#[test]
fn sftp_moves_files_both_ways() {
    let world = SshWorld::start();
    let (open, local) = (world.text_path("open"), world.text_path("local"));
    let data: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&local, &data).unwrap();
    let said = sftp(
        &world,
        &format!(
            "put {local} {open}/up\nls -l {open}\nget {open}/up {local}.back\nmkdir {open}/new\n\
             rename {open}/up {open}/new/renamed\nls {open}/new\nrm {open}/new/renamed\nrmdir {open}/new\n"
        ),
    );
    assert!(said.status.success(), "{said:?}");
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(
        text.contains("12000000") && text.contains("renamed"),
        "{text}"
    );
    assert!(fs::read(format!("{local}.back")).unwrap() == data);
    assert_eq!(fs::read_dir(world.path("open")).unwrap().count(), 0);
}

#[test]
fn scp_moves_files_both_ways() {
    let world = SshWorld::start();
    let (open, local) = (world.text_path("open"), world.text_path("local"));
    fs::write(&local, b"content\n").unwrap();
    let scp = |from: &str, to: &str| run(world.client("scp", Agent::Reader).args(["-q", from, to]));
    scp(&local, &format!("box:{open}/up")).ok();
    assert_eq!(fs::read(world.path("open/up")).unwrap(), b"content\n");
    scp(&format!("box:{open}/up"), &format!("{local}.back")).ok();
    assert_eq!(fs::read(format!("{local}.back")).unwrap(), b"content\n");
}

#[test]
fn a_secret_folder_stays_closed_by_whatever_way() {
    let world = SshWorld::start();
    let (open, secret) = (world.text_path("open"), world.text_path("secret"));
    fs::write(world.path("secret/key"), b"hidden").unwrap();
    std::os::unix::fs::symlink(&secret, world.path("open/link")).unwrap();
    let local = world.text_path("local");
    for path in [
        format!("{secret}/key"),
        format!("{open}/../secret/key"),
        format!("{open}/link/key"),
        format!("{open}//..//secret/./key"),
    ] {
        let said = sftp(&world, &format!("get {path} {local}\n"));
        assert!(!said.status.success(), "{path}: {said:?}");
        let copied =
            run(world
                .client("scp", Agent::Reader)
                .args(["-q", &format!("box:{path}"), &local]));
        assert_ne!(copied.code, Some(0), "{path}: {copied:?}");
        assert!(!world.path("local").exists(), "{path}");
    }
    fs::write(&local, b"new").unwrap();
    for line in [
        format!("put {local} {secret}/new"),
        format!("put {local} {open}/link/new"),
        format!("ls {secret}"),
        format!("rename {secret}/key {open}/key"),
        format!("rm {secret}/key"),
    ] {
        let said = sftp(&world, &format!("{line}\n"));
        assert!(!said.status.success(), "{line}: {said:?}");
    }
    assert_eq!(fs::read_dir(world.path("secret")).unwrap().count(), 1);
    assert!(!world.path("open/key").exists());
    let record = world.record();
    assert!(record.contains("secrets-stay"), "{record}");
}
