/* keypool: beat */
INSERT INTO beat (replica, number, beaten_at)
VALUES ($1, $2, $3)
ON CONFLICT (replica) DO UPDATE SET number = excluded.number, beaten_at = excluded.beaten_at
