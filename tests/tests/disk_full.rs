//! A disk that is really full: the table, the ledger or what is put aside lies on a file system of two megabytes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::harness::{Bench, Outcome, done, ended};
use crate::site::{At, Site, Undisturbed, digest, each};

/// A file system of two megabytes at the folder `small` of a bench.
struct SmallDisk<'b> {
    bench: &'b Bench,
    /// Who holds it, where only those see it who join him.
    holder: Option<Child>,
}

impl<'b> SmallDisk<'b> {
    /// Mounts it, for everybody as root may, or else in a name space of its own.
    fn on(bench: &'b Bench) -> Self {
        let at = bench.path("small");
        std::fs::create_dir(&at).unwrap();
        let mount = |mut command: Command| command.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&at).output();
        let refused = match mount(Command::new("mount")) {
            Ok(output) if output.status.success() => return Self { bench, holder: None },
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        let script = "mount -t tmpfs -o size=2m tmpfs \"$0\" && echo mounted && read -r _";
        let mut holder = Command::new("unshare");
        holder.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(&at);
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(
            line, "mounted\n",
            "a small file system is needed, and none can be mounted here, neither by `mount` ({refused}) nor by `unshare --user \
             --mount`: run the tests as root, or where name spaces of users are allowed"
        );
        Self { bench, holder: Some(holder) }
    }

    /// A command of the bench, where the file system is seen.
    fn command(&self, command: &Command) -> Command {
        let mut inside = match &self.holder {
            None => Command::new(command.get_program()),
            Some(holder) => {
                let mut inside = Command::new("nsenter");
                inside.args(["--user", "--preserve-credentials", "--mount", "--target", &holder.id().to_string()]);
                inside
                    .args(["sh", "-c", "cd \"$0\" && exec \"$@\""])
                    .arg(self.bench.path(""))
                    .arg(command.get_program());
                inside
            }
        };
        inside.args(command.get_args()).current_dir(self.bench.path("")).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Runs the program.
    fn run(&self, args: &[&str]) -> Outcome {
        ended(&mut self.command(&self.bench.command(args)))
    }

    fn shell(&self, script: &str) {
        done(&mut self.command(Command::new("sh").args(["-c", script])));
    }

    /// Fills it, but for so many pages of memory.
    fn fill(&self, pages: u32) {
        let left = pages * 4096;
        self.shell(&format!("dd if=/dev/zero of=small/filler bs=4096 2>dd.txt; truncate -s -{left} small/filler"));
    }

    fn make_room(&self) {
        self.shell("rm small/filler");
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        match &mut self.holder {
            // It ends when there is nothing more to read.
            Some(holder) => {
                drop(holder.stdin.take());
                let _ = holder.wait();
            }
            None => {
                let _ = Command::new("umount").arg(self.bench.path("small")).output();
            }
        }
    }
}

/// What lies on the small disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Target,
    Ledger,
    Quarantine,
}

/// A load that does not find room, as there are only so many pages left.
struct Cell {
    kind: &'static str,
    what: What,
    pages: u32,
}

impl Cell {
    fn all(kind: &'static str) -> Vec<Self> {
        // With more room it comes further: to the first fact, to a unit, to the receipt.
        let pages: [(What, &[u32]); 3] = [
            (What::Target, &[0, 2, 5]),
            (What::Ledger, &[0, 4, 8, 12, 14, 15, 16, 18]),
            (What::Quarantine, &[0, 2, 4, 6]),
        ];
        let all = pages.iter().flat_map(|(what, pages)| pages.iter().map(move |pages| (*what, *pages)));
        all.map(|(what, pages)| Self { kind, what, pages }).collect()
    }

    /// A site with a part of it on the small disk, and the ledger of its runs.
    fn site(&self) -> (Site, &'static str) {
        let site = Site::new(self.kind, "append", At::Folder);
        let change = |file: &str, from: &str, to: &str| {
            let text = std::fs::read_to_string(site.bench.path(file)).unwrap();
            assert!(text.contains(from), "{text}");
            site.bench.write(file, text.replace(from, to));
        };
        match self.what {
            What::Target => ["p.yaml", "reader.yaml"].iter().for_each(|file| change(file, "'lake'", "'small/lake'")),
            What::Ledger => return (site, "small/ledger"),
            What::Quarantine => change("p.yaml", "tables:", "quarantine: { url: small/aside }\ntables:"),
        }
        (site, ".transload")
    }

    fn is_gone_on_with(&self, twin: &Undisturbed) {
        let name = format!("{:?} of {} with {} pages", self.what, self.kind, self.pages);
        let (site, ledger) = self.site();
        let disk = SmallDisk::on(&site.bench);
        let run = |args: &[&str]| disk.run(&[args, &["--ledger", ledger]].concat());
        let load = || run(&["run", "p.yaml", "--parallel", "1"]);
        let seen = || digest(&disk.run(&["run", "reader.yaml", "--ledger", "reader"]).expect(0));
        let runs = || run(&["runs", "--format", "json"]).expect(0).last_line()["runs"].as_array().unwrap().clone();
        site.write_source(1);
        load().expect(0);
        let old = seen();
        site.write_source(2);
        disk.fill(self.pages);
        let full = load().says("there is no room left where the data goes");
        let is_published = seen() != old;
        match self.what {
            What::Target | What::Quarantine => assert_eq!((full.code, is_published), (75, false), "{name}: {full:?}"),
            // It is not left to chance whether somebody loads the rows again who is told to try again.
            What::Ledger if is_published => assert!([8, 75].contains(&full.code), "{name}: {full:?}"),
            What::Ledger => assert_eq!(full.code, 75, "{name}: {full:?}"),
        }

        disk.make_room();
        let begun = runs();
        let ended = match begun.len() {
            2 => {
                let id = begun[0]["run_id"].as_str().unwrap();
                if is_published || self.what != What::Ledger {
                    assert_eq!(full.last_line()["run_id"], id, "{name}");
                    assert!(
                        full.stderr.contains(&format!("`transload resume {id}` goes on from here")),
                        "{name}: {full:?}"
                    );
                }
                run(&["resume", id])
            }
            // There was not even room for its plan.
            _ => load(),
        };
        assert_eq!(ended.code, 0, "{name}: {ended:?}");
        assert_eq!(ended.last_line()["tables"][0]["verdict"], "match", "{name}");
        assert_eq!([old, seen()], twin.seen, "{name}");
        assert_eq!(digest(&ended), twin.digest, "{name}");
        run(&["audit", "verify"]).expect(0);
        run(&["clean", "p.yaml", "--older-than", "0s"]).expect(99);
    }
}

#[test]
fn a_load_that_finds_no_room_is_gone_on_with_when_there_is_some() {
    for kind in ["lake", "delta"] {
        let twin = Site::new(kind, "append", At::Folder).undisturbed();
        each(3, Cell::all(kind), |cell| cell.is_gone_on_with(&twin));
    }
}
