//! Disks that misbehave: a small one that gets full, and one that takes its time.

use crate::process::{LOOK_AGAIN, PATIENCE, spawn};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A small file system in memory, mounted over a directory. Unmounted when dropped, whoever still uses it.
pub struct Disk(PathBuf);

impl Disk {
    /// Over `dir`, which is made if it is missing and must be nobody else's. `None` where this may not be: only root may, and
    /// in a container only if it is allowed to.
    ///
    /// # Panics
    /// The directory can't be made.
    #[must_use]
    pub fn mount(dir: &Path, mebibytes: u32) -> Option<Self> {
        fs::create_dir_all(dir).expect("a directory to mount on");
        let options = format!("mode=0700,size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "gavel-test"]).arg(dir).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(dir.to_owned()))
    }

    /// Where it is mounted.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Mounted again with an option: `ro`, `rw`.
    ///
    /// # Panics
    /// It can't be.
    pub fn remount(&self, how: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).status().expect("mount runs");
        assert!(status.success(), "remounting {how}");
    }

    /// Takes all the room there is, to the last page.
    ///
    /// # Panics
    /// Writing fails for another reason than that it is full.
    pub fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).expect("a file");
        let zeros = vec![0; 1 << 20];
        loop {
            match filler.write(&zeros) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::StorageFull => return,
                Err(e) => panic!("{}: {e}", self.0.display()),
            }
        }
    }

    /// Gives back what [`Disk::fill`] took.
    ///
    /// # Panics
    /// It took nothing.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server that is being killed may still hold files open.
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Makes each `fsync` and `fdatasync` of a running process take longer, as a disk that is overloaded would. Ends when dropped;
/// the process then goes on at its own speed.
pub struct SlowDisk(Child);

impl SlowDisk {
    /// Under the process `pid` and all its threads. `Err` says why not here: `strace` is missing, or may not be used.
    ///
    /// # Errors
    /// As said.
    ///
    /// # Panics
    /// The process is gone.
    pub fn under(pid: u32, delay: Duration) -> Result<Self, String> {
        if Command::new("strace").arg("-V").output().is_err() {
            return Err("strace is missing: install Debian's package strace".into());
        }
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--", "strace", "-f", "-qq", "-p", &pid.to_string()]);
        command.args(["-e", "trace=fsync,fdatasync", "-e", &format!("inject=fsync,fdatasync:delay_enter={}", delay.as_micros())]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut slow = Self(spawn(command));
        let until = Instant::now() + PATIENCE;
        while !all_traced(pid) {
            if slow.0.try_wait().expect("it is ours").is_some() {
                return Err(format!("strace may not follow process {pid}: only root may, and in a container only where it is allowed"));
            }
            assert!(Instant::now() < until, "strace does not follow process {pid}");
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(slow)
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // Told to end it lets go in good order. It may be in the middle of a delay, which it ends first.
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _gone = kill_process(pid, Signal::TERM);
        }
        drop(self.0.wait());
    }
}

/// Whether every thread of a process is followed by somebody.
fn all_traced(pid: u32) -> bool {
    let traced = |status: &str| status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"));
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    // A thread that has ended meanwhile needs nobody.
    threads.flatten().all(|thread| fs::read_to_string(thread.path().join("status")).map_or(true, |status| traced(&status)))
}
