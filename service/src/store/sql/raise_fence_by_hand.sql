/* keypool: raise_fence_by_hand */
INSERT INTO fence (number, raised_at, cause, system_identifier, timeline)
SELECT f.number + 1, $1, 'operator', f.system_identifier, f.timeline
FROM fence f
ORDER BY f.number DESC
LIMIT 1
ON CONFLICT (number) DO NOTHING
RETURNING number
