/* keypool: raise_fence */
-- Several replicas may find out at the same moment: one of them raises the fence.
INSERT INTO fence (number, raised_at, cause, system_identifier, timeline, identity, lifted_at)
VALUES ($1, $2::timestamptz, $3, $4, $5, $6, CASE WHEN NOT $7 THEN $2 END)
ON CONFLICT (number) DO NOTHING
RETURNING number
