//! Texts of error replies in all versions of Redis and Valkey.

/// An error reply without the context that the server adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ErrorReply<'a> {
    /// The first word, such as `OOM`.
    pub(crate) code: &'a str,
    /// Error of the command or the script.
    pub(crate) text: &'a str,
    /// Whether the error of one command ended a script: its earlier writes stay.
    pub(crate) ended_script: bool,
}

impl<'a> ErrorReply<'a> {
    /// Reads a text such as `OOM …`. An error inside a script comes as
    /// - Redis 6.2, returned by the script: `@user_script: 55: -OOM …`
    /// - Redis 6.2, which ended it: `ERR Error running script (call to f_…): @user_script:55: @user_script: 55: -OOM …`
    /// - later versions, returned: `OOM …`
    /// - later versions, which ended it: `OOM … script: …, on @user_script:55.`, or `… script: on @user_script:55.`
    pub(crate) fn parse(reply: &'a str) -> Self {
        let ended = reply.strip_prefix("ERR Error running script").and_then(|rest| rest.split_once("): "));
        let place = |(_, place): (_, &str)| place.contains("on @user_script:");
        let ended_script = ended.is_some() || reply.rsplit_once(" script: ").is_some_and(place);
        let mut text = ended.map_or(reply, |(_call, text)| text);
        let mut is_wrapped = false;
        while let Some(rest) = without_place(text) {
            (text, is_wrapped) = (rest, true);
        }
        if is_wrapped {
            text = text.strip_prefix('-').unwrap_or(text);
        }
        Self { code: text.split(' ').next().unwrap_or_default(), text, ended_script }
    }

    /// Returns the command that the ACL denies, if the server names it.
    pub(crate) fn denied_command(&self) -> Option<&'a str> {
        let (_, from_command) = self.text.split_once("permissions to run the '")?;
        from_command.split_once('\'').map(|(command, _)| command)
    }
}

/// Returns the text after `@user_script: 55: ` or `@user_script:55: `.
fn without_place(text: &str) -> Option<&str> {
    let (line, rest) = text.strip_prefix("@user_script:")?.split_once(": ")?;
    line.trim_start().bytes().all(|byte| byte.is_ascii_digit()).then_some(rest)
}

#[cfg(test)]
mod tests;
