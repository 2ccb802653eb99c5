// Command cron says when robfig/cron, to which Machinery gives its periodic tasks, is due.
package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gearmesh/oracle/frames"
	"github.com/robfig/cron/v3"
)

// times is how many due times are told.
const times = 3

func main() {
	frames.Serve(answer)
}

func answer(_ byte, data []byte) frames.Answer {
	parts := bytes.Split(data, []byte{0})
	zone, err := time.LoadLocation(string(parts[1]))
	if err != nil {
		panic(err)
	}
	unix, err := strconv.ParseInt(string(parts[2]), 10, 64)
	if err != nil {
		panic(err)
	}
	schedule, err := cron.ParseStandard(string(parts[0]))
	if err != nil {
		return frames.Answer{Kind: frames.Error, Text: []byte(err.Error())}
	}
	moment := time.Unix(unix, 0).In(zone)
	found := []string{}
	for len(found) < times {
		moment = schedule.Next(moment)
		if moment.IsZero() {
			found = append(found, "never")
			break
		}
		found = append(found, fmt.Sprintf("%d%09d", moment.Unix(), moment.Nanosecond()))
	}
	return frames.Answer{Kind: frames.Value, Text: []byte(strings.Join(found, " "))}
}
