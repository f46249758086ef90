use std::process::ExitCode;

fn main() -> ExitCode {
    eventlogger::cli::main()
}
