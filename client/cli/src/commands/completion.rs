//! `conclave completion`.

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::aot::{Bash, Fish, Zsh, generate};

use super::Context;
use crate::flags::Cli;
use crate::output::Output;

/// Print a script that completes words at a shell's prompt.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell. Bash: `source <(conclave completion bash)` in ~/.bashrc; zsh: write it to a file
    /// `_conclave` in a folder of $fpath; fish: to ~/.config/fish/completions/conclave.fish
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// The shells that have scripts.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completion {
    pub(crate) fn run(&self, context: &Context) -> Output {
        Output::good(script(self.shell, context.style.program()))
    }
}

/// For the name under which the program was called.
fn script(shell: Shell, program: &str) -> String {
    let mut command = Cli::command();
    let mut script = Vec::new();
    match shell {
        Shell::Bash => generate(Bash, &mut command, program, &mut script),
        Shell::Zsh => generate(Zsh, &mut command, program, &mut script),
        Shell::Fish => generate(Fish, &mut command, program, &mut script),
    }
    String::from_utf8(script).expect("the command tree is text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script_for_the_called_name() {
        for (shell, line) in [
            (Shell::Bash, "complete -F _vault "),
            (Shell::Zsh, "#compdef vault"),
            (Shell::Fish, "complete -c vault "),
        ] {
            let script = script(shell, "vault");
            assert!(script.contains(line), "{shell:?}");
            for word in ["generate-root", "capabilities", "undelete", "path-help"] {
                assert!(script.contains(word), "{shell:?}: {word}");
            }
        }
    }
}
