//! An order a second in each of many rooms.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::Crowd;
use crate::generator::Report;

const EVERY: Duration = Duration::from_secs(1);

impl Crowd {
    /// So many orders in each group, the groups one after the other within a second. It is reported when the last viewer
    /// had each; one whom it has not reached by the time of the group's next has lost it.
    pub(crate) fn pace(&mut self, first: u64, orders: u32) -> anyhow::Result<Report> {
        self.begin();
        let mut there = vec![0; self.groups.len()];
        for seat in self.seats.iter().filter(|seat| seat.listens()) {
            there[seat.group] += 1;
        }
        let groups = u32::try_from(there.len())?;
        let (start, mut last_ms) = (Instant::now(), Vec::new());
        // After the last order of each there is one more turn, to see who had it.
        for turn in 0..groups * (orders + 1) {
            let (order, group) = (turn / groups, (turn % groups) as usize);
            let due = start + EVERY * turn / groups;
            while Instant::now() < due {
                self.look(Duration::ZERO)?;
            }
            if order > 0 {
                let missing = self.groups[group].waiting;
                ensure!(missing == 0, "{missing} in room {group} had not got order {order} when the next was due");
                last_ms.extend(self.groups[group].arrived_ms.last());
            }
            if order < orders {
                self.give(group, first + u64::from(order), 1, there[group]);
            }
        }
        for group in &mut self.groups {
            group.awaited = None;
        }
        last_ms.sort_by(f64::total_cmp);
        let took_ms = (self.last_frame - start).as_secs_f64() * 1000.0;
        Ok(Report { took_ms, arrived_ms: last_ms, ..self.report(0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crowd::tests::{BYTES, a_bare_server},
        speech::{FIRST_ORDER, Speech},
    };

    #[test]
    fn an_order_is_for_its_room_and_one_that_never_arrives_is_lost() -> anyhow::Result<()> {
        let (mut crowd, server) = (Crowd::new()?, a_bare_server());
        crowd.join(Speech::relay(&server, "/", BYTES), 10, 0)?;
        crowd.join(Speech::relay(&server, "/1", BYTES), 20, 0)?;
        let order = |crowd: &mut Crowd, group, number| crowd.order(group, number, 1, None);
        assert_eq!(order(&mut crowd, 0, FIRST_ORDER)?.frames, 11);
        assert_eq!(order(&mut crowd, 1, FIRST_ORDER)?.frames, 21);

        crowd.groups[1].speech.newest.0 = "no message has this".into();
        let lost = crowd.pace(FIRST_ORDER + 1, 1).map_or_else(|lost| lost.to_string(), |_| String::new());
        assert_eq!(lost, "21 in room 1 had not got order 1 when the next was due");
        Ok(())
    }
}
