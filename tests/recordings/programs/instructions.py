"""Writes pipe_NN.cu: one loop per instruction that keeps one pipe busy, with the number of operations it issues."""
k=[]; L=[]
def wg(name, typ, kk, bits, acc, tail):
    n=256; regs=n//2
    c='"+%s"'%("f" if acc=="float" else "r")
    d=", ".join("%%%d"%i for i in range(regs))
    asm='wgmma.mma_async.sync.aligned.m64n256k%d.%s {%s}, %%%d, %%%d, p%s;'%(kk,typ,d,regs,regs+1,tail)
    outs=", ".join("%s(c[%d])"%(c,i) for i in range(regs))
    k.append('''__global__ __launch_bounds__(128,2) void %s(int n, int* out){
 extern __shared__ __align__(1024) unsigned char s[]; for(int i=threadIdx.x;i<6144;i+=128) ((int*)s)[i]=0; __syncthreads();
 asm volatile("fence.proxy.async;");
 %s c[%d]; for(int i=0;i<%d;i++) c[i]=0;
 unsigned a=(unsigned)__cvta_generic_to_shared(s); unsigned long long da=((a>>4)&0x3fff)|(8ull<<16)|(16ull<<32), db=(((a+8192)>>4)&0x3fff)|(8ull<<16)|(16ull<<32);
 for(int i=0;i<n;i++){
  asm volatile("wgmma.fence.sync.aligned;":::"memory");
  #pragma unroll
  for(int j=0;j<4;j++) asm volatile("{.reg .pred p; setp.ne.b32 p, %s, 0; %s}" : %s : "l"(da),"l"(db),"r"(1));
  asm volatile("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;":::"memory");
 }
 %s t=0; for(int i=0;i<%d;i++) t+=c[i]; if(t==12345) out[0]=1; }'''%(name,acc,regs,regs,'%%%d'%(regs+2),asm,outs,acc,regs))
    L.append('{"%s",%d,%s,132*2,128,24576,2.0*64*256*%d*4}'%(name,bits,name,kk))
for z in (("wgmma_bf16","f32.bf16.bf16",16,16,"float",", 1, 1, 0, 0"),("wgmma_tf32","f32.tf32.tf32",8,32,"float",", 1, 1"),("wgmma_fp8","f32.e4m3.e4m3",32,8,"float",", 1, 1"),("wgmma_int8","s32.s8.s8",32,8,"int","")): wg(*z)
def sync(name, shape, bits, na, nb, nc, acc, mnk, ab="r"):
    at="double" if ab=="d" else "unsigned"; U=8
    o=", ".join('"+%s"(c[u][%d])'%({"float":"f","int":"r","double":"d"}[acc],i) for i in range(nc))
    d=",".join("%%%d"%i for i in range(nc)); A=",".join("%%%d"%(nc+i) for i in range(na)); B=",".join("%%%d"%(nc+na+i) for i in range(nb))
    ins=", ".join('"%s"(a[%d])'%(ab,i) for i in range(na))+", "+", ".join('"%s"(b[%d])'%(ab,i) for i in range(nb))
    k.append('''__global__ __launch_bounds__(256,2) void %s(int n, int* out){
 %s c[%d][%d]; for(int u=0;u<%d;u++) for(int i=0;i<%d;i++) c[u][i]=0; %s a[%d],b[%d]; for(int i=0;i<%d;i++) a[i]=n>>30; for(int i=0;i<%d;i++) b[i]=n>>30;
 for(int i=0;i<n;i++){
  #pragma unroll
  for(int u=0;u<%d;u++) asm volatile("mma.sync.aligned.%s {%s}, {%s}, {%s}, {%s};" : %s : %s);
 }
 %s t=0; for(int u=0;u<%d;u++) for(int i=0;i<%d;i++) t+=c[u][i]; if(t==12345) out[0]=1; }'''%(name,acc,U,nc,U,nc,at,na,nb,na,nb,U,shape,d,A,B,d,o,ins,acc,U,nc))
    m=1
    for x in mnk: m*=x
    L.append('{"%s",%d,%s,132*2,256,0,2.0*%d*8*8}'%(name,bits,name,m))
sync("sync_bf16","m16n8k16.row.col.f32.bf16.bf16.f32",16,4,2,4,"float",(16,8,16))
sync("sync_tf32","m16n8k8.row.col.f32.tf32.tf32.f32",32,4,2,4,"float",(16,8,8))
sync("sync_int8","m16n8k32.row.col.s32.s8.s8.s32",8,4,2,4,"int",(16,8,32))
sync("sync_fp8","m16n8k32.row.col.f32.e4m3.e4m3.f32",8,4,2,4,"float",(16,8,32))
sync("sync_fp64","m16n8k16.row.col.f64.f64.f64.f64",64,8,4,4,"double",(16,8,16),"d")
sync("sync_fp64_small","m8n8k4.row.col.f64.f64.f64.f64",64,1,1,2,"double",(8,8,4),"d")
sync("sync_fp16_acc16","m16n8k16.row.col.f16.f16.f16.f16",16,4,2,2,"int",(16,8,16))
def vec(name,bits,typ,expr,per):
    k.append('''__global__ __launch_bounds__(256,4) void %s(int n, int* out){
 %s c[16]; %s a=%s, b=%s; for(int i=0;i<16;i++) c[i]=b;
 for(int i=0;i<n;i++){
  #pragma unroll
  for(int u=0;u<16;u++) c[u]=%s;
 }
 %s t=c[0]; for(int i=1;i<16;i++) t=%s; if(%s) out[0]=1; }'''%(name,typ,typ,("__float2half2_rn(1.0f)" if typ=="__half2" else "(%s)threadIdx.x"%typ),("__float2half2_rn(0.0f)" if typ=="__half2" else "(%s)(n>>30)"%typ),expr,typ,("__hadd2(t,c[i])" if typ=="__half2" else "t+c[i]"),("__half2float(t.x)==123.f" if typ=="__half2" else "t==(%s)12345"%typ)))
    L.append('{"%s",%d,%s,132*4,256,0,%g*256*16}'%(name,bits,name,per))
vec("vec_fp32",32,"float","fmaf(c[u],a,b)",2); vec("vec_fp64",64,"double","fma(c[u],a,b)",2); vec("vec_fp16",16,"__half2","__hfma2(c[u],a,b)",4); vec("vec_int32",32,"int","c[u]*a+b",2)
for x,(kk,ll) in enumerate(zip(k,L)):
  open("pipe_%02d.cu"%x,"w").write('''#include <cstdio>
#include <ctime>
#include <cuda_fp16.h>
'''+kk+'''
struct K{const char*name;int bits;void(*f)(int,int*);int blocks,threads,smem;double per_block;};
static long long now(){timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec*1000000000ll+t.tv_nsec;}
static void nap(double s){timespec t{(time_t)s,(long)((s-(long)s)*1e9)};nanosleep(&t,0);}
int main(int argc,char**argv){ double S=argc>1?atof(argv[1]):2.5; int*d;cudaMalloc(&d,4);
 K ks[]={'''+ll+'''};
 for(K&k:ks){ int n=2000; cudaFuncSetAttribute((const void*)k.f,cudaFuncAttributeMaxDynamicSharedMemorySize,k.smem);
  k.f<<<k.blocks,k.threads,k.smem>>>(n,d); cudaDeviceSynchronize(); long long a=now(); k.f<<<k.blocks,k.threads,k.smem>>>(n,d); cudaError_t e=cudaDeviceSynchronize(); long long one=now()-a;
  if(e){printf("{\\"label\\":\\"%s\\",\\"error\\":\\"%s\\"}\\n",k.name,cudaGetErrorString(e));fflush(stdout);return 1;}
  if(one<20000)one=20000; double f=60e6/one*n; if(f>1e9)f=1e9; n=(int)f; nap(1.0);
  long long t0=now(),calls=0; while(now()-t0<S*1e9){k.f<<<k.blocks,k.threads,k.smem>>>(n,d);k.f<<<k.blocks,k.threads,k.smem>>>(n,d);calls+=2;e=cudaDeviceSynchronize();}
  long long t1=now(); double ops=calls*(double)n*k.per_block*k.blocks;
  printf("{\\"label\\":\\"%s\\",\\"format\\":\\"%d\\",\\"start\\":%lld,\\"end\\":%lld,\\"flop\\":%.0f,\\"tflops\\":%.2f,\\"rc\\":%d}\\n",k.name,k.bits,t0,t1,ops,ops/(t1-t0)/1e3,(int)e);fflush(stdout);}
}
''')
