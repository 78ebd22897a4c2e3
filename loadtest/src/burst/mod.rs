//! `burst`: many bidders on few lots as fast as answers come, or at a given rate, with watchers reading along.
//! This file is the run from its lots to its report; who bids what is in `bidders`, what is counted in `tally`.

mod bidders;
mod drive;
mod lot;
mod report;
mod tally;
mod verify;
mod wallets;
mod watchers;

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use thiserror::Error;
use uuid::Uuid;

use self::drive::Run;
use self::lot::Lot;
use self::report::Report;
use crate::audit::Violation;
use crate::cli::{BurstArgs, Funding};
use crate::clock::Clock;
use crate::net::{BadUrl, SocketError, Swarm, Target, UpgradeError, open_all};
use crate::rest::{Rest, RestError};
use crate::tokens::{Role, TokenError, TokenMaker};
use crate::wire::message::Malformed;
use crate::wire::request::BidIds;

/// Seconds a token lives beyond the run itself.
const TOKEN_SLACK: f64 = 3600.0;

/// Why a burst has no good end.
#[derive(Debug, Error)]
pub(crate) enum BurstError {
    #[error("{0}")]
    Usage(&'static str),
    #[error(transparent)]
    Url(#[from] BadUrl),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("cannot write {}: {error}", .path.display())]
    Json { path: PathBuf, error: io::Error },
    #[error("cannot write the results: {0}")]
    Output(#[source] io::Error),
    #[error(transparent)]
    Rest(#[from] RestError),
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the joins were not answered within {0} s")]
    NotJoined(f64),
    #[error("socket {socket}: request {request} was answered with {answer}")]
    Answer { socket: usize, request: u64, answer: String },
    #[error("this server has no wallets: run without --funding wallet")]
    NoWallets,
    #[error("violated: {0}")]
    Violated(#[from] Violation),
}

impl BurstError {
    /// Whether the one who called can mend it by calling otherwise.
    pub(crate) fn is_callers(&self) -> bool {
        let key = |error: &TokenError| !matches!(error, TokenError::Sign(_));
        match self {
            Self::Usage(_) | Self::Url(_) | Self::Json { .. } => true,
            Self::Token(error) => key(error),
            _ => false,
        }
    }
}

/// The names of a run's bidders and watchers: of this run alone.
pub(crate) struct Names {
    run: String,
}

impl Names {
    fn fresh() -> Self {
        let mut run = Uuid::new_v4().simple().to_string();
        run.truncate(8);
        Self { run }
    }

    fn bidder(&self, number: u32) -> String {
        format!("{}{number}", self.before_number())
    }

    /// What a bidder's name has before the number.
    fn before_number(&self) -> String {
        format!("bidder-{}-", self.run)
    }

    fn watcher(&self, number: u32) -> String {
        format!("watcher-{}-{number}", self.run)
    }

    fn admin(&self) -> String {
        format!("loadtest-{}", self.run)
    }
}

/// Runs it, prints what it found, and fails if a promise was broken.
pub(crate) fn run(args: &BurstArgs) -> Result<(), BurstError> {
    if !args.proxy && args.bidders < 2 {
        return Err(BurstError::Usage("--bidders 1 without --proxy: a leader is never outbid, so nobody could bid"));
    }
    let target = Target::parse(&args.server.url)?;
    let ttl = args.warmup + args.seconds + args.drain + TOKEN_SLACK;
    let maker = TokenMaker::from_file(&args.server.key_file(), ttl as u64)?;
    let json = args.server.json.as_ref().map(|path| match File::create(path) {
        Ok(file) => Ok((file, path)),
        Err(error) => Err(BurstError::Json { path: path.clone(), error }),
    });
    let json = json.transpose()?;
    let names = Names::fresh();
    let rest = Rest::new(&target, &maker.token(&names.admin(), Role::Admin)?);

    let mut lots = Vec::with_capacity(args.lots as usize);
    let measured = measure(args, &target, &maker, &names, &rest, &mut lots);
    let closed = close(&rest, &lots);
    let (mut report, expected) = measured?;
    let end = expected.and_then(|expected| {
        for (expected, state) in expected.iter().zip(closed?) {
            expected.compare("the closed lot", &state)?;
            expected.ended(&state)?;
        }
        Ok(())
    });
    match &end {
        Ok(()) => {}
        Err(BurstError::Violated(violation)) => report.violation = Some(violation.to_string()),
        Err(error) => report.error = Some(error.to_string()),
    }
    // A reader that has gone away is no reason to forget the verdict.
    let printed = write!(io::stdout(), "{report}").map_err(BurstError::Output);
    if let Some((mut file, path)) = json {
        let written = serde_json::to_writer_pretty(&mut file, &report).map_err(io::Error::from);
        let written = written.and_then(|()| writeln!(file));
        written.map_err(|error| BurstError::Json { path: path.clone(), error })?;
    }
    end.and(printed)
}

/// What the lots must have come to, or what already is not so.
type Verdict = Result<Vec<verify::Expected>, BurstError>;

/// Everything between making the lots, which are left in `lots`, and closing them.
fn measure(
    args: &BurstArgs,
    target: &Target,
    maker: &TokenMaker,
    names: &Names,
    rest: &Rest,
    lots: &mut Vec<Lot>,
) -> Result<(Report, Verdict), BurstError> {
    if args.funding == Funding::Wallet {
        wallets::exist(rest, names)?;
    }
    let mut currency = String::new();
    for number in 1..=args.lots {
        let title = format!("Load test {}, lot {number}", names.run);
        let made = rest.create_lot(&title, args.proxy, args.funding.name())?;
        lots.push(Lot::new(made.id, made.position.seq));
        currency = made.currency.code;
    }
    if args.funding == Funding::Wallet {
        wallets::fill(rest, names, args, &currency)?;
    }
    let bidders = (0..args.bidders).map(|number| maker.token(&names.bidder(number), Role::Bidder));
    let watchers = (0..args.watchers).map(|number| maker.token(&names.watcher(number), Role::Viewer));
    let tokens: Vec<String> = bidders.chain(watchers).collect::<Result<_, _>>()?;
    let clock = Clock::start();
    let mut swarm = Swarm::new(open_all(target, &tokens)?, clock)?;
    let ids = BidIds::fresh();
    let mut run = Run::new(args, lots, ids, names.before_number(), clock);
    run.join(&mut swarm)?;
    let (mut report, measured) = run.measure(&mut swarm);
    let drained = measured.and_then(|()| run.drain(&mut swarm));
    run.finish(&mut report);
    let verdict = drained.and_then(|()| judge(args, names, rest, ids, &currency, lots, &mut report));
    Ok((report, verdict))
}

/// Holds the server to what it has answered, when everything is.
fn judge(args: &BurstArgs, names: &Names, rest: &Rest, ids: BidIds, currency: &str, lots: &[Lot], report: &mut Report) -> Verdict {
    let expected = lots.iter().map(|lot| verify::judge(lot, args.proxy, names));
    let expected = expected.collect::<Result<Vec<_>, _>>()?;
    for (lot, expected) in lots.iter().zip(&expected) {
        let state = rest.lot(lot.id)?;
        expected.compare("GET /v1/lots/{id}", &state)?;
        expected.last("GET /v1/lots/{id}", &state)?;
    }
    if report.checked == 0 {
        return Err(Violation::NothingAccepted.into());
    }
    if args.funding == Funding::Wallet {
        report.wallets_checked = Some(wallets::compare(rest, names, args, currency, &expected)?);
    }
    if args.verify_history {
        let found = lots.iter().map(|lot| verify::history(lot, rest, names, ids));
        report.history_checked = Some(found.sum::<Result<u64, BurstError>>()?);
    }
    Ok(expected)
}

/// Closes all lots, the rest also if one fails.
fn close(rest: &Rest, lots: &[Lot]) -> Result<Vec<crate::rest::LotState>, BurstError> {
    let all: Vec<_> = lots.iter().map(|lot| rest.close_lot(lot.id)).collect();
    Ok(all.into_iter().collect::<Result<_, _>>()?)
}
