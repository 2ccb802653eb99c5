// Command goservice is a Go worker. gearmesh stubs python --from-go reads the tasks that it registers.
package main

import (
	"context"
	"strings"

	"github.com/RichardKnop/machinery/v2"
)

const prefix = "go."

// Upper returns a text in capitals.
func Upper(ctx context.Context, text string) (string, error) {
	return strings.ToUpper(text), nil
}

// Split cuts bytes in two.
func Split(data []byte, at uint32) ([]byte, []byte, error) {
	return data[:at], data[at:], nil
}

func register(server *machinery.Server) error {
	if err := server.RegisterTask(prefix+"upper", Upper); err != nil {
		return err
	}
	return server.RegisterTasks(map[string]interface{}{
		prefix + "split": Split,
		prefix + "sum": func(numbers ...int64) (int64, error) {
			total := int64(0)
			for _, number := range numbers {
				total += number
			}
			return total, nil
		},
	})
}

func main() {}
