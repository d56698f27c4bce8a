//! Pythons with packages, which `cargo xtask test` installs.

use std::path::Path;
use std::process::{Command, Stdio};

use tidings_testkit::RedisServer;

/// A Python with these packages: `redis-5` and `redis-8` are `broadcaster` over the Redis client of that version, `yaml` is PyYAML.
pub(crate) fn python(packages: &str) -> Command {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let program = target.join(format!("python/{packages}/bin/python"));
    assert!(program.is_file(), "{} is missing; `cargo xtask test` installs it", program.display());
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    command
}

#[test]
fn python_publishes_with_broadcaster() {
    let redis = RedisServer::start();
    let mut subscriber = redis.connect();
    subscriber.command(&["SUBSCRIBE", "project.1"]);
    for packages in ["redis-5", "redis-8"] {
        let program = format!(
            "import asyncio\nfrom broadcaster import Broadcast\nasync def main():\n    async with Broadcast({:?}) as b:\n        \
             await b.publish(channel='project.1', message='{packages}')\nasyncio.run(main())\n",
            redis.url()
        );
        let output = python(packages).args(["-c", &program]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(subscriber.reply().list()[2].text(), packages);
    }
}
