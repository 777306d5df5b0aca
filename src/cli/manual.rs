//! `manual`: the manual pages, made from the same texts as `--help`, so that they cannot differ.

use super::failure::Failure;
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use std::io::Write;
use std::path::PathBuf;

/// Sections that `--help` has no place for, as roff.
const FURTHER: &str = include_str!("manual.roff");

/// Print the manual page, or write all of them into a folder
#[derive(Debug, Args)]
pub struct Manual {
    /// Write a page for each command into this folder, such as /usr/local/share/man/man1
    folder: Option<PathBuf>,
}

impl Manual {
    /// Writes to standard output or to the folder.
    pub fn run(&self) -> Result<(), Failure> {
        let command = super::Arguments::command();
        let Some(folder) = &self.folder else {
            return Ok(main_page(command, &mut std::io::stdout())?);
        };
        crate::durable::create_folder(folder)?;
        clap_mangen::generate_to(command.clone(), folder)?;
        let mut page = Vec::new();
        main_page(command, &mut page)?;
        crate::durable::replace(&folder.join("strongroom.1"), &page)?;
        Ok(())
    }
}

fn main_page(command: Command, out: &mut dyn Write) -> std::io::Result<()> {
    let page = Man::new(command).manual("Strongroom");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_subcommands_section(out)?;
    out.write_all(FURTHER.as_bytes())?;
    page.render_version_section(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn the_page_names_every_command_and_has_the_further_sections() {
        let command = super::super::Arguments::command();
        let mut page = Vec::new();
        main_page(command.clone(), &mut page).expect("page");
        let page = String::from_utf8(page).expect("text");
        for shown in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let name = shown.get_name().replace('-', "\\-");
            assert!(page.contains(&format!("strongroom\\-{name}(1)")), "{name}");
        }
        for section in ["FIRST STEPS", "FILES", "ENVIRONMENT", "EXIT STATUS"] {
            assert!(page.contains(section), "{section}");
        }
    }

    #[test]
    fn the_first_steps_are_commands_that_there_are() {
        let steps = FURTHER
            .split(".SH")
            .find(|part| part.contains("FIRST STEPS"));
        let steps = steps
            .expect("the section")
            .replace("\\-", "-")
            .replace("\\e\n", "");
        let lines = steps.lines().filter(|line| line.starts_with("strongroom "));
        let mut count = 0;
        for line in lines {
            let words = line.split_whitespace().filter(|word| *word != "...");
            if let Err(error) = super::super::Arguments::try_parse_from(words) {
                panic!("{line}: {error}");
            }
            count += 1;
        }
        assert!(count >= 7, "{count} steps");
    }
}
