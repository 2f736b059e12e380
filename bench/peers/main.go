// The first program with the address /api/process, written after its description, to measure beside the service.
//
// It asks two models for whole answers, waits for both, asks a third to combine them, and sends one event for each
// token of that stream. A run fails when a model fails; each call has 15 seconds. It stores nothing.
//
// Usage: original BASE_URL MODEL; it prints its address. Questions: {"message": "...", "message_id": "..."}.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const callTime = 15 * time.Second

type question struct {
	Message   string `json:"message"`
	MessageID string `json:"message_id"`
}

type event struct {
	MessageID string `json:"message_id"`
	Status    string `json:"status"`
	Source    string `json:"source"`
	Message   string `json:"message"`
	Type      string `json:"type"`
	Final     bool   `json:"final,omitempty"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type chatRequest struct {
	Model    string    `json:"model"`
	Messages []message `json:"messages"`
	Stream   bool      `json:"stream"`
}

type chatResponse struct {
	Choices []struct {
		Message message `json:"message"`
		Delta   message `json:"delta"`
	} `json:"choices"`
}

type server struct {
	baseURL string
	model   string
	client  *http.Client
}

// ask sends a chat request; the caller closes the body of the response.
func (s *server) ask(ctx context.Context, prompt, content string, stream bool) (*http.Response, error) {
	messages := []message{{"system", prompt}, {"user", content}}
	body, err := json.Marshal(chatRequest{s.model, messages, stream})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, "POST", s.baseURL+"/chat/completions", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer bench")
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("the model answered with status %d", response.StatusCode)
	}
	return response, nil
}

// answer returns the whole answer of a model.
func (s *server) answer(ctx context.Context, prompt, content string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	response, err := s.ask(ctx, prompt, content, false)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var decoded chatResponse
	if err := json.NewDecoder(response.Body).Decode(&decoded); err != nil {
		return "", err
	}
	if len(decoded.Choices) == 0 {
		return "", errors.New("the model answered without a choice")
	}
	return decoded.Choices[0].Message.Content, nil
}

// combine calls onToken for each token of the combined answer.
func (s *server) combine(ctx context.Context, content string, onToken func(string) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	response, err := s.ask(ctx, "You combine the answers of several assistants into one.", content, true)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		data, isData := strings.CutPrefix(lines.Text(), "data: ")
		if !isData {
			continue
		}
		if data == "[DONE]" {
			io.Copy(io.Discard, response.Body) // so that the connection is used again
			return nil
		}
		var chunk chatResponse
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			return err
		}
		if len(chunk.Choices) > 0 && chunk.Choices[0].Delta.Content != "" {
			if err := onToken(chunk.Choices[0].Delta.Content); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}

// run asks both models at once, waits for the slower one, and streams the combined answer.
func (s *server) run(ctx context.Context, asked question, send func(event) error) error {
	var answers [2]string
	var faults [2]error
	var both sync.WaitGroup
	for number := range answers {
		both.Add(1)
		go func(number int) {
			defer both.Done()
			answers[number], faults[number] = s.answer(ctx, "You are a careful assistant.", asked.Message)
		}(number)
	}
	both.Wait()
	if err := errors.Join(faults[0], faults[1]); err != nil {
		return err
	}
	content := fmt.Sprintf("%s\n\nAnswer 1:\n%s\n\nAnswer 2:\n%s", asked.Message, answers[0], answers[1])
	return s.combine(ctx, content, func(token string) error {
		return send(event{asked.MessageID, "Streaming", "llm-combine", token, "answer.delta", false})
	})
}

func (s *server) process(writer http.ResponseWriter, request *http.Request) {
	var asked question
	if err := json.NewDecoder(request.Body).Decode(&asked); err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	flusher := writer.(http.Flusher)
	writer.Header().Set("Content-Type", "text/event-stream")
	writer.Header().Set("Cache-Control", "no-cache")
	send := func(each event) error {
		data, err := json.Marshal(each)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(writer, "data: %s\n\n", data); err != nil {
			return err
		}
		flusher.Flush()
		return nil
	}
	last := event{asked.MessageID, "Completed", "llm-combine", "", "run.finished", true}
	if err := s.run(request.Context(), asked, send); err != nil {
		last.Status, last.Message, last.Type = "Failed", err.Error(), "run.failed"
	}
	send(last)
}

func main() {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 1000
	s := &server{os.Args[1], os.Args[2], &http.Client{Transport: transport}}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/process", s.process)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("The original is at http://%s/\n", listener.Addr())
	http.Serve(listener, mux)
}
