module gearmesh/cronoracle

go 1.21

require (
	gearmesh/oracle v0.0.0
	github.com/robfig/cron/v3 v3.0.1
)

replace gearmesh/oracle => ../
