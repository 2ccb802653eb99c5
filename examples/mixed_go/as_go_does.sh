#!/bin/sh
# Send one task as Machinery's client does: store PENDING and push the signature. Then read the result.
set -eu
cd "$(dirname "$0")"
url=${REDIS_URL:-redis://localhost:6379/0}
id=task_7a3c1c1e-5d0b-4a53-9c2f-6f5a4f0f9b10

now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
# redis-cli exits with 0 even if Redis refuses a command (the option -e needs version 7), so check the answer.
reply=$(redis-cli -u "$url" SET "$id" \
    '{"TaskUUID":"'$id'","TaskName":"describe","State":"PENDING","Results":null,"Error":"","CreatedAt":"'"$now"'","TTL":0}' \
    EX 3600)
[ "$reply" = OK ] || { echo "Redis answers: $reply" >&2; exit 1; }
redis-cli -u "$url" RPUSH python_tasks "$(cat describe.json)" >/dev/null

tries=0
until redis-cli --raw -u "$url" GET "$id" | grep -E '"State":"(SUCCESS|FAILURE)"'; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { echo "no worker has run it" >&2; exit 1; }
    sleep 0.1
done
