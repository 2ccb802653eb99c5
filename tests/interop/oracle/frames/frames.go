// Package frames carries the requests and answers of an oracle.
//
// Requests come in batches: a uint32 with the length of the batch, then for each request its verb (one byte), a uint32
// with a length, and so many bytes. The answer is the same: a length, then for each request a byte and a text. All
// numbers are little endian.
package frames

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
)

// Kinds of answers: a value, an error, a value that is not the one that was written, what ends a Go process.
const (
	Value   = '='
	Error   = '-'
	Mangled = '~'
	Panic   = '!'
)

// Answer is what became of a request.
type Answer struct {
	Kind byte
	Text []byte
}

type request struct {
	verb byte
	data []byte
}

// Serve answers batches on standard input until it ends. A panic of answer is an answer, too.
func Serve(answer func(verb byte, data []byte) Answer) {
	input := bufio.NewReaderSize(os.Stdin, 1<<20)
	output := bufio.NewWriterSize(os.Stdout, 1<<20)
	for {
		var size uint32
		if err := binary.Read(input, binary.LittleEndian, &size); err != nil {
			return
		}
		batch := make([]byte, size)
		if _, err := io.ReadFull(input, batch); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		write(output, answerAll(requestsOf(batch), answer))
	}
}

func requestsOf(batch []byte) []request {
	found := []request{}
	for len(batch) > 0 {
		size := binary.LittleEndian.Uint32(batch[1:])
		found = append(found, request{batch[0], batch[5 : 5+size]})
		batch = batch[5+size:]
	}
	return found
}

func answerAll(requests []request, answer func(byte, []byte) Answer) []Answer {
	answers := make([]Answer, len(requests))
	var group sync.WaitGroup
	workers := runtime.NumCPU()
	for worker := 0; worker < workers; worker++ {
		group.Add(1)
		go func(first int) {
			defer group.Done()
			for i := first; i < len(requests); i += workers {
				answers[i] = guarded(requests[i], answer)
			}
		}(worker)
	}
	group.Wait()
	return answers
}

func guarded(r request, answer func(byte, []byte) Answer) (a Answer) {
	defer func() {
		if failure := recover(); failure != nil {
			a = Answer{Panic, []byte(fmt.Sprint(failure))}
		}
	}()
	return answer(r.verb, r.data)
}

func write(output *bufio.Writer, answers []Answer) {
	size := 0
	for _, each := range answers {
		size += 5 + len(each.Text)
	}
	binary.Write(output, binary.LittleEndian, uint32(size))
	for _, each := range answers {
		output.WriteByte(each.Kind)
		binary.Write(output, binary.LittleEndian, uint32(len(each.Text)))
		output.Write(each.Text)
	}
	output.Flush()
}
