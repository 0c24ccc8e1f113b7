-- One line of progress: events in the logs, handled, streams seen, and the lag of each log (of many logs: the total).
SELECT format('%7s %8s %8s   %s', (SELECT count(*) FROM replay.events), sum(handled),
              (SELECT count(*) FROM replay.stream_summary),
              CASE WHEN count(*) > 6 THEN sum(lag)::text ELSE string_agg(log || ' ' || lag, ', ' ORDER BY log) END)
FROM pm.status WHERE process_manager = 'follow-streams';
