"""Known matrix products: label, format, when, and how many operations were issued (2 M N K each)."""
import sys, time, json, torch
S=float(sys.argv[2]); out=open(sys.argv[1],"w"); torch.manual_seed(1); d="cuda"
only=sys.argv[3].split(",") if len(sys.argv)>3 else None
def run(label, fmt, f, flop, seconds=S):
    if only and label not in only: return
    try:
        for _ in range(3): f()
        torch.cuda.synchronize(); time.sleep(1.3)
        s=torch.cuda.Event(enable_timing=True); e=torch.cuda.Event(enable_timing=True)
        a=time.perf_counter(); f(); torch.cuda.synchronize(); one=max(time.perf_counter()-a,1e-5); n=max(1,int(.05/one))
        w0=time.time(); t0=time.monotonic_ns(); s.record(); c=0
        while time.monotonic_ns()-t0<seconds*1e9:
            for _ in range(n): f()
            c+=n; torch.cuda.synchronize()
        e.record(); torch.cuda.synchronize(); t1=time.monotonic_ns()
        r=dict(label=label,format=fmt,wall=w0,start=t0,end=t1,calls=c,flop=c*flop,event_s=s.elapsed_time(e)/1e3,tflops=c*flop/(t1-t0)/1e3)
        time.sleep(1.3)
    except Exception as x: r=dict(label=label,format=fmt,error=repr(x)[:300])
    out.write(json.dumps(r)+"\n"); out.flush(); print(r,flush=True)
def mm(dt,m,n,k,zero=False):
    mk=(torch.zeros if zero else torch.randn)
    a=mk(m,k,device=d,dtype=torch.float32).to(dt); b=mk(k,n,device=d,dtype=torch.float32).to(dt); o=torch.empty(m,n,device=d,dtype=dt)
    return lambda: torch.mm(a,b,out=o)
N=8192; F=2*N**3
torch.backends.cuda.matmul.allow_tf32=False
run("bf16","BF16",mm(torch.bfloat16,N,N,N),F)
run("fp16","FP16",mm(torch.float16,N,N,N),F)
torch.backends.cuda.matmul.allow_tf32=True
run("tf32","TF32",mm(torch.float32,N,N,N),F)
def fp8(zero=False):
    mk=torch.zeros if zero else torch.randn
    a=mk(N,N,device=d).to(torch.float8_e4m3fn); b=mk(N,N,device=d).to(torch.float8_e4m3fn).t(); one=torch.ones((),device=d)
    return lambda: torch._scaled_mm(a,b,scale_a=one,scale_b=one,out_dtype=torch.bfloat16,use_fast_accum=True)
try: run("fp8","FP8",fp8(),F)
except Exception as x: print("fp8",x)
def i8(zero=False):
    a=torch.randint(-127,127,(N,N),device=d,dtype=torch.int8); b=torch.randint(-127,127,(N,N),device=d,dtype=torch.int8).t()
    if zero: a.zero_(); b=torch.zeros(N,N,device=d,dtype=torch.int8).t()
    return lambda: torch._int_mm(a,b)
try: run("int8","INT8",i8(),F)
except Exception as x: print("int8",x)
run("fp64","FP64",mm(torch.float64,4096,4096,4096),2*4096**3)
torch.backends.cuda.matmul.allow_tf32=False
run("fp32","FP32 vector",mm(torch.float32,4096,4096,4096),2*4096**3,S*.7)
run("bf16-zeros","BF16",mm(torch.bfloat16,N,N,N,True),F,S*.7)
try: run("fp8-zeros","FP8",fp8(True),F,S*.7)
except Exception as x: print(x)
try: run("int8-zeros","INT8",i8(True),F,S*.7)
except Exception as x: print(x)
torch.backends.cuda.matmul.allow_tf32=True
run("tf32-zeros","TF32",mm(torch.float32,N,N,N,True),F,S*.7)
run("fp64-zeros","FP64",mm(torch.float64,4096,4096,4096,True),2*4096**3,S*.7)
run("bf16-odd","BF16",mm(torch.bfloat16,2056,1032,4104),2*2056*1032*4104,S*.7)
run("bf16-small","BF16",mm(torch.bfloat16,512,512,512),2*512**3,S*.5)
run("bf16-gemv","BF16",mm(torch.bfloat16,16,N,N),2*16*N*N,S*.5)
a=mm(torch.bfloat16,N,N,N)
def half():
    a(); torch.cuda.synchronize(); time.sleep(.0015)
run("bf16-half","BF16",half,F,S*.7)
try:
    torch.sparse.SparseSemiStructuredTensor._FORCE_CUTLASS=False
    w=torch.randn(N,N,device=d,dtype=torch.float16); w.view(-1,4)[:,:2]=0
    sp=torch.sparse.to_sparse_semi_structured(w); x=torch.randn(N,N,device=d,dtype=torch.float16)
    run("fp16-sparse","FP16 2:4",lambda: torch.mm(sp,x),F,S*.7)
except Exception as x: print("sparse",repr(x)[:200])
