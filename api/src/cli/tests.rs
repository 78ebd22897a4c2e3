//! What a caller of the command line notices: which calls parse, and what is said about those that don't.

use super::*;
use crate::auth::TokenKeys;

fn parse(line: &str) -> Result<Command, CliError> {
    let parsed = Cli::try_parse_from(line.split_whitespace());
    parsed.map(|cli| cli.command).map_err(|error| error::usage(&error).expect_err("no help was asked for"))
}

#[test]
fn the_definition_is_sound() {
    use clap::CommandFactory as _;
    Cli::command().debug_assert();
}

#[test]
fn mistakes_are_one_line_and_status_2() {
    for (line, expected) in [
        ("gavel", "a command is missing"),
        ("gavel config", "a command is missing"),
        ("gavel audit", "a command is missing"),
        ("gavel fly", "unrecognized subcommand 'fly'"),
        ("gavel serve --port 1", "unexpected argument '--port' found"),
        ("gavel serve --listen 8080", "invalid value '8080' for '--listen <A:P>': invalid socket address syntax"),
        ("gavel token --role admin", "required arguments were not provided: --sub <NAME>"),
        ("gavel token --sub -a --role admin", "unexpected argument"),
        ("gavel token --sub a/b --role admin", "invalid value 'a/b' for '--sub <NAME>': a name is 1 to 64 of"),
        ("gavel token --sub a --role root", "'--role <ROLE>': unknown role: expected admin, auctioneer, bidder or viewer"),
        ("gavel token --sub a --role admin --ttl 0s", "'--ttl <TIME>': expected a positive whole number and a unit"),
        ("gavel token --sub a --role admin --ttl 12", "such as 90s, 15m, 12h or 30d"),
        ("gavel replay", "not provided: <FILE.csv>"),
    ] {
        let error = parse(line).expect_err(line);
        assert!(error.to_string().contains(expected), "{line}: {error}");
        assert!(!error.to_string().contains('\n'), "{line}: {error}");
        assert_eq!(error.status(), 2, "{line}");
    }
}

#[test]
fn a_token_is_made_with_the_data_directorys_key() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let Command::Token(args) = parse(&format!("gavel token --sub bob --role bidder --ttl 15m --data-dir {}", data_dir.display())).unwrap()
    else {
        panic!("another command")
    };
    let text = token::issue(&args).unwrap();
    let overrides = Overrides { data_dir: Some(data_dir), ..Overrides::default() };
    let keys = TokenKeys::load(&Settings::load(None, std::iter::empty(), &overrides).unwrap()).unwrap();
    let principal = keys.verify(&text).unwrap();
    assert_eq!((principal.sub.as_str(), principal.role), ("bob", Role::Bidder));
    let left = principal.remaining(std::time::SystemTime::now()).as_secs();
    assert!((890..=900).contains(&left), "{left}");
}

#[test]
fn the_audit_trail_is_checked_where_one_says() {
    let parsed = parse("gavel audit check --data-dir /d --config /c").unwrap();
    let Command::Audit(AuditCommand::Check(data)) = parsed else { panic!("another command") };
    assert_eq!((data.data_dir, data.config), (Some("/d".into()), Some("/c".into())));
}

#[test]
fn serve_takes_its_flags() {
    let Command::Serve(args) = parse("gavel serve --data-dir /d --listen [::1]:0 --demo").unwrap() else { panic!("another command") };
    assert_eq!((args.data_dir, args.listen, args.demo), (Some("/d".into()), "[::1]:0".parse().ok(), true));
}
