//! `gateway sessions replay`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use clap::Args;
use gateway_audit::{
    index::{Index, IndexError, SessionRow},
    replay::{Cast, Replayed, Screen, Timed, has_moments, replay, replay_moments},
};
use gateway_core::{
    id::{SessionId, UnitId},
    record::{Direction, Track},
};

use super::at;
use crate::{
    commands::{ConfigArgs, Exit, Failure},
    console, gateway,
};

/// Longest pause of a recording that is waited for.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Longest part of a command that is shown above what it printed, characters.
const TITLE_CHARS_MAX: usize = 200;

/// What passed.
#[derive(Debug, Args)]
pub(in crate::commands) struct ReplayArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The session's id.
    #[arg(value_parser = SessionId::parse)]
    id: SessionId,
    /// How fast output is played on a terminal: 2 is twice as fast as it was, 0 is at once. Pauses
    /// last 2 s at most.
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Of this unit only (its number, as `sessions show` has it).
    #[arg(long)]
    unit: Option<u64>,
    /// List every piece in both directions, escaped, instead of playing: what was typed, too.
    #[arg(long, conflicts_with_all = ["speed", "cast"])]
    lines: bool,
    /// Write to this file, as asciicast v3, instead of playing.
    #[arg(long, value_name = "FILE", conflicts_with = "speed")]
    cast: Option<PathBuf>,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().map_err(|_| "not a number")?;
    if (0.0..=1000.0).contains(&speed) {
        Ok(speed)
    } else {
        Err("not between 0 and 1000".into())
    }
}

/// A recorded session.
struct Recording {
    index: Index,
    folder: PathBuf,
    id: SessionId,
    unit: Option<UnitId>,
}

/// Runs the command.
pub(super) fn run(args: &ReplayArgs) -> Result<Exit, Failure> {
    let config = args.config.load()?;
    let recording = Recording {
        index: super::index(&config)?,
        folder: gateway::log_dir(&config.gateway),
        id: args.id,
        unit: args.unit.map(UnitId),
    };
    let row = recording.index.session(&args.id.to_string());
    let row = row.map_err(plain)?.ok_or_else(unknown)?;
    if !has_moments(row.protocol.as_deref().unwrap_or_default()) {
        if args.unit.is_some() || args.cast.is_some() {
            let what =
                "the stream of this session is one conversation, without units and terminals";
            return Err(Failure::plain(what));
        }
        return recording.conversation();
    }
    recording.moments(&row, args)
}

fn unknown() -> Failure {
    Failure::no("no recorded session has this id")
}

fn plain(error: impl std::error::Error) -> Failure {
    Failure::plain(error.to_string())
}

impl Recording {
    /// Every chunk on a line.
    fn conversation(&self) -> Result<Exit, Failure> {
        let chunks = replay(&self.folder, &self.index, self.id, &mut |chunk| {
            let (arrow, text) = (arrow(chunk.direction), chunk.bytes.escape_ascii());
            console::line(format!("{} {arrow} {text}", at(chunk.at_us)));
        });
        covered(chunks.map_err(plain)?);
        Ok(Exit::Done)
    }

    /// The whole recording is checked against the log before anything of it is shown.
    fn moments(&self, row: &SessionRow, args: &ReplayArgs) -> Result<Exit, Failure> {
        let mut shown = BTreeSet::new();
        let replayed = self.visit(&mut |timed| {
            if is_shown(timed.moment.track) {
                shown.insert(timed.moment.unit);
            }
        })?;
        if row.state == "closed" && !replayed.whole {
            let what = "the session was closed, and its recording ends in the middle of a moment";
            return Err(Failure::plain(what));
        }
        if let Some(path) = &args.cast {
            self.write_cast(path, &shown)?;
        } else if args.lines || shown.is_empty() {
            self.visit(&mut |timed| console::line(line(&timed)))?;
        } else {
            let titles = self.titles(&shown).map_err(plain)?;
            self.play(args.speed, titles)?;
        }
        covered(replayed.chunks);
        Ok(Exit::Done)
    }

    fn visit(&self, each: &mut dyn FnMut(Timed)) -> Result<Replayed, Failure> {
        let wanted = |unit| self.unit.is_none_or(|only| only == unit);
        let each = &mut |timed: Timed| {
            if wanted(timed.moment.unit) {
                each(timed);
            }
        };
        replay_moments(&self.folder, &self.index, self.id, each).map_err(plain)
    }

    fn write_cast(&self, path: &Path, shown: &BTreeSet<UnitId>) -> Result<(), Failure> {
        if shown.is_empty() {
            return Err(Failure::no("a terminal would show nothing of it"));
        }
        let failed = |error: io::Error| Failure::other(path.display(), error);
        let mut file = BufWriter::new(File::create(path).map_err(failed)?);
        let only = match (self.unit, shown.len()) {
            (None, 1) => shown.first().copied(),
            (unit, _) => unit,
        };
        let (mut cast, mut lines, mut written) = (Cast::new(only), String::new(), Ok(()));
        self.visit(&mut |timed| {
            cast.push(timed.at_us, &timed.moment, &mut lines);
            if written.is_ok() {
                written = file.write_all(lines.as_bytes());
            }
            lines.clear();
        })?;
        cast.finish(&mut lines);
        written
            .and_then(|()| file.write_all(lines.as_bytes()))
            .and_then(|()| file.flush())
            .map_err(failed)
    }

    /// What stands above the output of each unit: nothing when there is one.
    fn titles(&self, shown: &BTreeSet<UnitId>) -> Result<BTreeMap<UnitId, String>, IndexError> {
        let mut titles = BTreeMap::new();
        if shown.len() < 2 {
            return Ok(titles);
        }
        for leaf in self.index.leaves(&self.id.to_string())? {
            let text = leaf.body.pointer("/operation/text");
            if let (Some(unit), Some(text)) = (leaf.unit, text.and_then(|text| text.as_str())) {
                let text: String = text.chars().take(TITLE_CHARS_MAX).collect();
                let title = format!("--- unit {unit}: {} ---", console::printable(&text));
                titles.insert(UnitId(unit), title);
            }
        }
        Ok(titles)
    }

    fn play(&self, speed: f64, titles: BTreeMap<UnitId, String>) -> Result<(), Failure> {
        let mut player = Player::new(titles);
        let wait = console::is_terminal() && speed > 0.0;
        self.visit(&mut |timed| {
            let (pause, text) = player.step(&timed);
            if wait && !text.is_empty() {
                thread::sleep(pause.div_f64(speed));
            }
            console::piece(&text);
        })?;
        console::piece(&player.finish());
        if player.hidden > 0 {
            console::note(format!(
                "{} control sequences that print nothing were hidden; `--lines` shows them",
                player.hidden
            ));
        }
        Ok(())
    }
}

fn covered(chunks: u64) {
    console::note(format!(
        "{chunks} chunks, as the log's last head of this session covers them"
    ));
}

const fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::ToAgent => "<",
        Direction::ToTarget => ">",
    }
}

const fn is_shown(track: Track) -> bool {
    match track {
        Track::Output | Track::Error => true,
        Track::Input
        | Track::Resize
        | Track::Signal
        | Track::Exit
        | Track::FileRead
        | Track::FileWrite
        | Track::Request
        | Track::Response => false,
    }
}

/// One moment with everything visible.
fn line(timed: &Timed) -> String {
    let moment = &timed.moment;
    let data = match moment.track {
        Track::Resize => moment
            .data
            .chunks(4)
            .map(|size| {
                size.try_into()
                    .map_or_else(|_| "?".into(), |size| u32::from_be_bytes(size).to_string())
            })
            .collect::<Vec<_>>()
            .join("x"),
        _ => moment.data.escape_ascii().to_string(),
    };
    format!(
        "{} {} unit {} {} {data}",
        at(timed.at_us),
        arrow(timed.direction),
        moment.unit.0,
        moment.track.as_str()
    )
}

/// Output on its way to the reviewer's terminal.
struct Player {
    titles: BTreeMap<UnitId, String>,
    /// Output and error output of units that haven't ended.
    screens: BTreeMap<UnitId, [Screen; 2]>,
    /// Whose output was shown last, and when it was recorded.
    last: Option<(UnitId, u64)>,
    hidden: u64,
}

impl Player {
    fn new(titles: BTreeMap<UnitId, String>) -> Self {
        Self {
            titles,
            screens: BTreeMap::new(),
            last: None,
            hidden: 0,
        }
    }

    /// What to show of one moment, and after what pause.
    fn step(&mut self, timed: &Timed) -> (Duration, String) {
        let moment = &timed.moment;
        let mut text = String::new();
        match moment.track {
            Track::Output | Track::Error => {
                let [output, error] = self.screens.entry(moment.unit).or_default();
                let screen = match moment.track {
                    Track::Error => error,
                    _ => output,
                };
                let hidden = screen.hidden();
                screen.show(&moment.data, &mut text);
                self.hidden += screen.hidden() - hidden;
            }
            Track::Exit => text = self.rest(moment.unit),
            Track::Input
            | Track::Resize
            | Track::Signal
            | Track::FileRead
            | Track::FileWrite
            | Track::Request
            | Track::Response => {}
        }
        if text.is_empty() {
            return (Duration::ZERO, text);
        }
        let (before, since) = match self.last {
            Some((unit, at_us)) => (Some(unit), timed.at_us.saturating_sub(at_us)),
            None => (None, 0),
        };
        self.last = Some((moment.unit, timed.at_us));
        if before != Some(moment.unit)
            && let Some(title) = self.titles.get(&moment.unit)
        {
            // The other unit's colours and its unfinished line end here.
            let end = if before.is_some() { "\r\n" } else { "" };
            text.insert_str(0, &format!("\u{1b}[0m{end}{title}\r\n"));
        }
        (Duration::from_micros(since).min(PAUSE_MAX), text)
    }

    fn rest(&mut self, unit: UnitId) -> String {
        let mut text = String::new();
        for mut screen in self.screens.remove(&unit).into_iter().flatten() {
            screen.finish(&mut text);
        }
        text
    }

    /// What units that never ended still held, and the terminal as it was before.
    fn finish(&mut self) -> String {
        let units: Vec<UnitId> = self.screens.keys().copied().collect();
        let rest: String = units.into_iter().map(|unit| self.rest(unit)).collect();
        format!("{rest}\u{1b}[0m\r\n")
    }
}

#[cfg(test)]
mod tests {
    use gateway_core::record::Moment;

    use super::*;

    fn timed(at_us: u64, unit: u64, track: Track, data: &[u8]) -> Timed {
        Timed {
            at_us,
            direction: Direction::ToAgent,
            moment: Moment {
                unit: UnitId(unit),
                track,
                data: data.to_vec().into(),
            },
        }
    }

    #[test]
    fn output_is_played_in_its_own_time_and_pauses_end() {
        let mut player = Player::new(BTreeMap::new());
        let steps = [
            (timed(1_000_000, 1, Track::Output, b"$ "), 0, "$ "),
            (timed(1_100_000, 1, Track::Input, b"ls\r"), 0, ""),
            (
                timed(1_300_000, 1, Track::Output, b"a\x1b]0;t\x07\x1b[3"),
                300_000,
                "a",
            ),
            (timed(9_300_000, 1, Track::Error, b"e"), 2_000_000, "e"),
            (timed(9_300_001, 1, Track::Exit, b"0"), 1, "␛[3"),
        ];
        for (timed, pause, text) in steps {
            let expected = (Duration::from_micros(pause), text.to_owned());
            assert_eq!(player.step(&timed), expected, "{timed:?}");
        }
        assert_eq!(player.hidden, 1);
        assert_eq!(player.finish(), "\u{1b}[0m\r\n");
    }

    #[test]
    fn the_output_of_several_units_is_told_apart() {
        let titles = [(1, "--- one ---"), (2, "--- two ---")];
        let titles = titles.map(|(unit, title)| (UnitId(unit), title.to_owned()));
        let mut player = Player::new(titles.into());
        let mut shown = String::new();
        for (unit, data) in [(1, "a"), (1, "b"), (2, "c"), (1, "d")] {
            shown += &player
                .step(&timed(0, unit, Track::Output, data.as_bytes()))
                .1;
        }
        let shown = shown.replace("\u{1b}[0m", "");
        assert_eq!(
            shown,
            "--- one ---\r\nab\r\n--- two ---\r\nc\r\n--- one ---\r\nd"
        );
    }

    #[test]
    fn lines_show_every_byte() {
        let hostile = timed(0, 3, Track::Input, b"\x1b]52;c;x\x07\xff");
        assert!(line(&hostile).ends_with("< unit 3 input \\x1b]52;c;x\\x07\\xff"));
        let size = timed(0, 3, Track::Resize, &[0, 0, 0, 80, 0, 0, 0, 24]);
        assert!(line(&size).ends_with("resize 80x24"));
    }

    #[test]
    fn speeds_are_finite_and_not_negative() {
        assert_eq!(speed("1.5"), Ok(1.5));
        for wrong in ["-1", "inf", "NaN", "1e9", "fast"] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
    }
}
