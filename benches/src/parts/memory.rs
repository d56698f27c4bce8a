//! Memory per idle connection: the growth of the proportional set size between a tenth of the connections and all.

use std::{fs, thread, time::Duration};

use tidings_load::Marker;

use crate::{
    Arguments, Outcome,
    event::RUN,
    http::Http,
    report::Table,
    server::{Kind, Programs, Server},
    swarm::Swarm,
};

/// How long a server is left alone before its memory is read.
const REST: Duration = Duration::from_millis(1_500);
/// Events that each connection gets before it is measured again.
const EVENTS: u64 = 3;

pub(crate) fn measure(arguments: &Arguments, programs: &Programs) -> Outcome<Table> {
    let (few, many) = (arguments.connections / 10, arguments.connections);
    let mut table = Table::new(
        "Memory per idle connection",
        &["server", "channels", "fresh, KiB", "after three events, KiB", "faults"],
        &format!(
            "Proportional set size of the server: what it grew by from {few} to {many} connections, for each of them. \
             Buffers of the kernel are not in it."
        ),
    );
    for kind in [Kind::Interval, Kind::Baseline] {
        for is_shared in [true, false] {
            let name = format!("memory-{kind:?}-{is_shared}");
            let server = Server::start(programs, kind, &name, &[])?;
            let [fresh, after, faults] = measure_one(&server, few, many, is_shared)?;
            let channels = if is_shared { "one" } else { "one each" };
            if kind != Kind::Baseline && faults != "none" {
                table.errors.push(format!("{}: {faults}", kind.name()));
            }
            table.row([kind.name().to_owned(), channels.to_owned(), fresh, after, faults]);
            drop(server);
            let _ = fs::remove_dir_all(programs.directory.join(name));
        }
    }
    Ok(table)
}

fn measure_one(server: &Server, few: usize, many: usize, is_shared: bool) -> Outcome<[String; 3]> {
    let channel = |at: usize| if is_shared { "idle".to_owned() } else { format!("idle.{at}") };
    let mut swarm = Swarm::new(server.address)?;
    let open = |swarm: &mut Swarm, range: std::ops::Range<usize>| -> Outcome<u64> {
        for at in range {
            swarm.subscribe(&channel(at), None)?;
        }
        swarm.open_all()?;
        thread::sleep(REST);
        server.pss_kib()
    };
    let at_few = open(&mut swarm, 0..few)?;
    let at_many = open(&mut swarm, few..many)?;
    let each = |kib: u64| kib.saturating_sub(at_few) as f64 / (many - few) as f64;
    let fresh = each(at_many);
    if !is_shared {
        // What three events on each of so many channels take is the log's, not the connections'.
        return Ok([format!("{fresh:.1}"), "–".into(), super::fault_text(&swarm.faults)]);
    }
    let mut http = Http::connect(server.address)?;
    for number in 0..EVENTS {
        let event = swarm.event(0, number)?;
        let path = format!("/api/v1/events/{}", channel(0));
        http.send(
            "POST",
            &path,
            "Content-Type: application/json\r\n",
            event.text(&Marker::new(RUN)).as_bytes(),
        )?;
    }
    swarm.drain(EVENTS * many as u64)?;
    thread::sleep(REST);
    let after = each(server.pss_kib()?);
    Ok([format!("{fresh:.1}"), format!("{after:.1}"), super::fault_text(&swarm.faults)])
}
